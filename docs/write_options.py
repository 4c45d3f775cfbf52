"""Writes the tables of options in these pages from signatures and docstrings, so that they cannot be out of date.

Run it from the root of the repository after an option has changed: ``.venv/bin/python docs/write_options.py``. A page
asks for a table by two comments with the name of a class or function between which it is written::

    <!-- options of lightning_nas.samplers.UniformSampler -->
    <!-- end of options -->
"""

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

TABLE = re.compile(r"(<!-- options of ([\w.]+) -->\n).*?(<!-- end of options -->)", re.DOTALL)
HEAD = "| Option | Default | |\n| --- | --- | --- |\n"
# What the command line makes of the configs.
BUILT = ("self", "model", "datamodule")


def written(page: str) -> str:
    """The text of a page with its tables as they should be."""
    return TABLE.sub(lambda found: found[1] + HEAD + rows(named(found[2])) + found[3], page)


def named(name: str) -> Callable[..., Any]:
    """A class or function of the package, or a method, by its full name."""
    module, _, member = name.rpartition(".")
    if module.rpartition(".")[2][0].isupper():  # a class
        return getattr(named(module), member)  # type: ignore[no-any-return]
    return getattr(importlib.import_module(module), member)  # type: ignore[no-any-return]


def rows(function: Callable[..., Any]) -> str:
    """A row for every option."""
    told = arguments(inspect.getdoc(function) or "")
    parameters = inspect.signature(function).parameters.values()
    return "".join(
        f"| {option(parameter, function)} | {default(parameter)} | {told[parameter.name]} |\n"
        for parameter in parameters
        if parameter.name not in BUILT
    )


def arguments(docstring: str) -> dict[str, str]:
    """What the section ``Args`` (``Attributes`` of a dataclass) says of every argument, as Markdown in one line."""
    head = "\nArgs:\n" if "\nArgs:\n" in docstring else "\nAttributes:\n"
    section = docstring.partition(head)[2].partition("\n\n")[0]
    parts = re.split(r"^ {4}(\w+): ", section, flags=re.MULTILINE)[1:]
    texts = (" ".join(part.split()).replace("``", "`").replace("|", r"\|") for part in parts[1::2])
    return dict(zip(parts[::2], texts, strict=True))


def option(parameter: inspect.Parameter, function: Callable[..., Any]) -> str:
    """How an option is written: of a verb as on the command line, of a class as the key in a config."""
    if inspect.isclass(function):
        return f"`{parameter.name}`"
    is_verb_without_trainer = "self" not in inspect.signature(function).parameters
    if (
        is_verb_without_trainer
        and parameter.kind is not parameter.KEYWORD_ONLY
        and parameter.default is parameter.empty
    ):
        return f"`{parameter.name.upper()}`"
    return f"`--{parameter.name}`"


def default(parameter: inspect.Parameter) -> str:
    """The default of an option as a config writes it."""
    value = parameter.default
    if value is parameter.empty:
        return "required"
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, str | float | int | list | tuple | Path) else "none"


if __name__ == "__main__":
    for page in Path(__file__).parent.glob("*.md"):
        page.write_text(written(page.read_text()))
