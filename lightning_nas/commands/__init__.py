"""Verbs of the command line that need neither a model nor data: plain functions, one file each."""

import inspect
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from jsonargparse import auto_cli

from lightning_nas.commands.convert import convert
from lightning_nas.commands.describe import describe
from lightning_nas.commands.ensemble import ensemble
from lightning_nas.commands.fetch_benchmark import fetch_benchmark
from lightning_nas.commands.rank import rank

COMMANDS: dict[str, Callable[..., None]] = {
    "convert": convert,
    "describe": describe,
    "ensemble": ensemble,
    "fetch-benchmark": fetch_benchmark,
    "rank": rank,
}
"""The function of every verb. Its keyword-only parameters are options, the others positional."""

__all__ = ["COMMANDS", "convert", "describe", "ensemble", "fetch_benchmark", "rank", "run"]


def run(verb: str, args: Sequence[str]) -> None:
    """Runs a verb with the arguments of a command line."""
    function = COMMANDS[verb]
    parameters = list(inspect.signature(function).parameters.values())
    positional = [parameter for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    if positional and positional[0].annotation == list[Path]:
        args = _gathered(args)
    auto_cli(
        function,
        args=list(args),
        as_positional=bool(positional),
        prog=f"lightning-nas {verb}",
        allow_abbrev=False,
    )


def _gathered(args: Sequence[str]) -> list[str]:
    """The arguments with the files in front as one list, the only form in which the parser takes several."""
    files = list(itertools.takewhile(lambda arg: not arg.startswith("-"), args))
    return [json.dumps(files), *args[len(files) :]] if files else list(args)
