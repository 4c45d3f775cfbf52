"""What was scored before an interruption, and with which settings."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lightning_nas.errors import NASError
from lightning_nas.files import written_whole


@dataclass(frozen=True)
class PartialScores:
    """A file that lets an interrupted scoring continue.

    Attributes:
        path: The file; it exists only between an interruption and the end of the continuation.
        settings: Plain values on which the scores depend, by the name under which a user knows them.
    """

    path: Path
    settings: dict[str, Any]

    def read(self) -> dict[str, Any] | None:
        """What ``write`` kept, or None.

        Raises:
            NASError: The file is damaged, or was begun with other settings.
        """
        if not self.path.exists():
            return None
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
            before: dict[str, Any] = kept["settings"]
        except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
            raise NASError(f"{self.path} is damaged: remove it to score all paths anew") from error
        for key, value in self.settings.items():
            if before.get(key) != value:
                raise NASError(
                    f"{self.path} was begun with {key} {before.get(key)}, but now {key} is {value}: give the same "
                    "settings to continue, or remove the file to score all paths anew"
                )
        state: dict[str, Any] = kept["state"]
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Keeps a state of tensors and plain types, whole or not at all."""
        with written_whole(self.path) as temporary:
            torch.save({"settings": self.settings, "state": state}, temporary)

    def remove(self) -> None:
        """Forgets the state."""
        self.path.unlink(missing_ok=True)
