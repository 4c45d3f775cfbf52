"""Verbs of the command line that need neither a model nor data: plain functions, one file each."""

import inspect
from collections.abc import Callable, Sequence

from jsonargparse import auto_cli

from lightning_nas.commands.describe import describe
from lightning_nas.commands.fetch_benchmark import fetch_benchmark

COMMANDS: dict[str, Callable[..., None]] = {
    "describe": describe,
    "fetch-benchmark": fetch_benchmark,
}
"""The function of every verb. Its keyword-only parameters are options, the others positional."""

__all__ = ["COMMANDS", "describe", "fetch_benchmark", "run"]


def run(verb: str, args: Sequence[str]) -> None:
    """Runs a verb with the arguments of a command line."""
    function = COMMANDS[verb]
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    auto_cli(
        function,
        args=list(args),
        as_positional=inspect.Parameter.POSITIONAL_OR_KEYWORD in kinds,
        prog=f"lightning-nas {verb}",
        allow_abbrev=False,
    )
