"""Verbs of the command line that need no trainer: plain functions, one file each."""

import inspect
import itertools
import json
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import yaml
from jsonargparse import auto_cli

from lightning_nas.commands.convert import convert
from lightning_nas.commands.describe import describe
from lightning_nas.commands.ensemble import ensemble
from lightning_nas.commands.estimate import estimate
from lightning_nas.commands.export import export
from lightning_nas.commands.fetch_benchmark import fetch_benchmark
from lightning_nas.commands.latency import latency
from lightning_nas.commands.prune import prune
from lightning_nas.commands.rank import rank
from lightning_nas.commands.report import report
from lightning_nas.commands.submit import submit
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.parser import Parser
from lightning_nas.zeroshot import Estimator, named

COMMANDS: dict[str, Callable[..., None]] = {
    "convert": convert,
    "describe": describe,
    "ensemble": ensemble,
    "estimate": estimate,
    "export": export,
    "fetch-benchmark": fetch_benchmark,
    "latency": latency,
    "prune": prune,
    "rank": rank,
    "report": report,
    "submit": submit,
}
"""The function of every verb. Its keyword-only parameters are options, the others positional."""

CONFIG = ("-c", "--config")

__all__ = [
    "COMMANDS",
    "convert",
    "describe",
    "ensemble",
    "estimate",
    "export",
    "fetch_benchmark",
    "latency",
    "prune",
    "rank",
    "report",
    "run",
    "submit",
]


def run(verb: str, args: Sequence[str]) -> None:
    """Runs a verb with the arguments of a command line."""
    function = COMMANDS[verb]
    parameters = list(inspect.signature(function).parameters.values())
    positional = [parameter for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    if positional and positional[0].annotation == list[Path]:
        args = _gathered(args)
    if positional and positional[0].annotation == list[str]:
        args = _divided(args)
    if any(parameter.annotation == ImageDataModule | None for parameter in parameters):
        args = _with_data_of_configs(args)
    if any(parameter.annotation == list[Estimator] for parameter in parameters):
        args = _with_named_estimators(args)
    switches = {f"--{parameter.name}" for parameter in parameters if parameter.annotation is bool}
    auto_cli(
        function,
        args=_switched([_with_underscores(arg) for arg in args], switches),
        as_positional=bool(positional),
        prog=f"lightning-nas {verb}",
        parser_class=Parser,
    )


def _gathered(args: Sequence[str]) -> list[str]:
    """The arguments with the files in front as one list, the only form in which the parser takes several."""
    files = list(itertools.takewhile(lambda arg: not arg.startswith("-"), args))
    return [json.dumps(files), *args[len(files) :]] if files else list(args)


def _divided(args: Sequence[str]) -> list[str]:
    """The arguments with the command behind ``--`` as one list in front."""
    options = list(itertools.takewhile(lambda arg: arg != "--", args))
    if {"-h", "--help"} & set(options):
        return ["--help"]
    return [json.dumps(args[len(options) + 1 :]), *options]


def _with_data_of_configs(args: Sequence[str]) -> list[str]:
    """The arguments with the key ``data`` of configs in their place: those of runs have much more.

    Raises:
        NASError: A config is missing, no YAML, or says nothing of data.
    """
    return [
        _data_of(Path(arg)) if option in CONFIG else "--config" if arg in CONFIG else arg
        for option, arg in itertools.pairwise(["", *args])
    ]


def _data_of(config: Path) -> str:
    if not config.is_file():
        raise NASError(f"-c is {str(config)!r}, but there is no such file")
    try:
        keys = yaml.safe_load(config.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NASError(f"-c is {str(config)!r}, which is no YAML") from error
    if not isinstance(keys, dict) or not keys.get("data"):
        raise NASError(f"-c is {str(config)!r}, which has no key data: the checkpoint says all else")
    return json.dumps({"data": keys["data"]})


def _with_named_estimators(args: Sequence[str]) -> list[str]:
    """The arguments, where estimators are no list of YAML but given by their titles.

    Raises:
        NASError: No estimator has such a title.
    """
    option = "--estimators"
    divided = [arg.split("=", 1) if arg.startswith(f"{option}=") else [arg] for arg in args]
    args = [part for parts in divided for part in parts]
    return [
        json.dumps(named(arg)) if before == option and not arg.startswith("[") else arg
        for before, arg in itertools.pairwise(["", *args])
    ]


def _with_underscores(arg: str) -> str:
    """An option as the parser knows it, for those who write it with hyphens."""
    name, equals, value = arg.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if arg.startswith("--") else arg


def _switched(args: Sequence[str], switches: AbstractSet[str]) -> list[str]:
    """The arguments, where a switch that stands alone is true."""
    return [
        f"{arg}=true" if arg in switches and after.startswith("--") else arg
        for arg, after in itertools.pairwise([*args, "--"])
    ]
