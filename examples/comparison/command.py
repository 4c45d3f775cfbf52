"""A function as a command line."""

import sys
from collections.abc import Callable, Sequence

import jsonargparse

from lightning_nas.errors import NASError


def run_as_command(function: Callable[..., None], name: str, words: Sequence[str]) -> None:
    """Calls a function with the options of a command line; mistakes and interruptions end it in one sentence."""
    try:
        jsonargparse.auto_cli(function, as_positional=False, args=list(words))
    except NASError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted: the same command continues.")
