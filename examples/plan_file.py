"""Plans of examples: files that say what is run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lightning_nas.errors import NASError

Plan = TypeVar("Plan")


def read_plan(file: Path, build: Callable[[dict[str, Any]], Plan]) -> Plan:
    """The plan of a file.

    Args:
        file: YAML, with the keys of the plan.
        build: Makes the plan of what the file holds.

    Raises:
        NASError: There is no such file, or a key is missing or unknown.
    """
    if not file.is_file():
        raise NASError(f"plan is {file}: there is no such file")
    content = yaml.safe_load(file.read_text())
    try:
        return build(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise NASError(f"plan is {file}, which has not the keys of a plan: {error}") from error
