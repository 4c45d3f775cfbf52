"""The parser of every command: a mistake is told in one sentence that names the key and the nearest valid name."""

import inspect
import re
from collections.abc import Collection
from importlib import import_module
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from lightning_nas.errors import NASError, nearest

# What jsonargparse says, over as many lines as there are types that a value might have had.
KEY = re.compile(r'Parser key "([\w.]+)"')
UNKNOWN_KEY = re.compile(r"unrecognized arguments: (\S+)|does not accept option '(\S+)'")
UNKNOWN_ARGUMENT = re.compile(r"Option '(\w+)' is not accepted")
CLASS = re.compile(r"class_path[ =]'([\w.]+)'")
UNKNOWN_CLASS = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'|No module named '([\w.]+)'")
NO_FILE = re.compile(r"File does not exist: ('.*')")
NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
REQUIRED = re.compile(r"arguments are required: (.*)")
EXPECTED = re.compile(r"Expected an? (?:typing\.)?(.+?)(?:\. Got value: .*)?$", re.MULTILINE)
GIVEN = re.compile(r"G(?:ot|iven) value: (?:NestedArg\(key='.*', val=)?(.*?)\)?$", re.MULTILINE)


class Parser(LightningArgumentParser):
    """Refuses what it does not understand with a sentence, where jsonargparse prints pages of usage.

    Keys are written out: an abbreviation would mean another key once one is added.

    Args:
        args: As for the parser of Lightning.
        kwargs: The same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, allow_abbrev=False)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuses.

        Args:
            message: What jsonargparse found.
            ex: Why.

        Raises:
            NASError: The same in a sentence.
        """
        if not self.exit_on_error:  # one of several types is tried
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", self)
        options = [option.removeprefix("--") for option in parser._option_string_actions]
        raise NASError(sentence(message, options)) from ex


def sentence(message: str, options: Collection[str]) -> str:
    """What is wrong, in a sentence.

    Args:
        message: What jsonargparse says of it.
        options: The keys that are valid, such as ``trainer.max_epochs``.

    Example:
        >>> sentence("unrecognized arguments: --trainer.max_ep 3", ["trainer.max_epochs", "trainer.max_steps"])
        "there is no key trainer.max_ep; did you mean 'trainer.max_epochs'?"
    """
    key = ".".join(KEY.findall(message))
    if found := UNKNOWN_KEY.search(message):
        return _unknown_key(found[1] or found[2], options)
    if (found := UNKNOWN_ARGUMENT.search(message)) and (classes := CLASS.findall(message)):
        # The innermost one is named before its option, and that of an optimizer alone behind.
        name = (CLASS.findall(message[: found.start()]) or classes)[-1]
        return f"there is no key {key}.{found[1]} of {name}{nearest(found[1], _arguments(name))}"
    if (found := UNKNOWN_CLASS.search(message)) and found[3]:
        return f"{key}: there is no module {found[3]!r} on the Python path: is its folder in PYTHONPATH?"
    if found:
        return f"{key}: {found[0]}{nearest(found[2], dir(import_module(found[1])))}"
    if found := NO_FILE.search(message):
        return f"{key} is {found[1]}, but there is no such file"
    if found := NO_CLASS.search(message):
        return f"{key} is {found[1]}, which is no class that is known: valid are class paths"
    if found := REQUIRED.search(message):
        # A verb stands in front of its keys; those of commands without a trainer may be given without dashes.
        return re.sub(r"\b\w+\.", "--", found[1]) + " must be given"
    if EXPECTED.search(message) and GIVEN.search(message):
        return _unfit_value(key, message)
    return " ".join(message.split())


def _unknown_key(word: str, options: Collection[str]) -> str:
    """A key that no option has; a word alone is what should follow a key."""
    if not word.startswith("-") and "." not in word:
        return f"{word!r} stands alone: a value follows its key, as in --key {word}"
    key = re.sub(r"\.(class_path|init_args)\b.*", "", word.removeprefix("--").partition("=")[0])
    return f"there is no key {key}{nearest(key, options)}"


def _arguments(class_path: str) -> list[str]:
    """The names of what a class is built with."""
    module, _, name = class_path.rpartition(".")
    return list(inspect.signature(getattr(import_module(module), name)).parameters)


def _unfit_value(key: str, message: str) -> str:
    """A value of another type, or none of those that are valid."""
    found = [re.sub(r"<class '(.*)'>|Literal\[(.*)\]", r"\1\2", kind) for kind in EXPECTED.findall(message)]
    valid = ", ".join(kind for kind in dict.fromkeys(found) if kind != "NoneType")
    given = _given(message)
    words = re.findall(r"'(.*?)'", valid)
    return f"{key} is {given}: valid is {valid or None}{nearest(given, words)}"


def _given(message: str) -> str:
    """The value that does not fit, as it was given."""
    given: list[str] = GIVEN.findall(message)
    return given[-1].strip("'")
