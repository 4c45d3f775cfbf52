"""Plans of examples: files that say what is run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from lightning_nas.errors import NASError

Config = dict[str, Any]
"""What is added to a configuration of the command line."""

Setting = dict[str, Any]
"""Values of some keys of the command line."""


@dataclass
class PlanFile:
    """What every plan says; each example adds its own keys.

    Attributes:
        title: Of the table.
        training: The common configuration of what trains.
        seeds: The seeds that everything is run with.
    """

    title: str
    training: Config
    seeds: list[int]

    @classmethod
    def read(cls, file: Path) -> Self:
        """The plan of a YAML file.

        Raises:
            NASError: There is no such file, or a key is missing or unknown.
        """
        if not file.is_file():
            raise NASError(f"plan is {file}: there is no such file")
        try:
            return cls.of(yaml.safe_load(file.read_text()))
        except (AttributeError, KeyError, TypeError) as error:
            raise NASError(f"plan is {file}, which has not the keys of a plan: {error}") from error

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """The plan with the keys of a file."""
        return cls(**content)
