"""Latency as a sum of what the choices of a path take."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path as File
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import Ridge, RidgeCV

from lightning_nas.errors import NASError
from lightning_nas.files import written_whole
from lightning_nas.latency.conditions import device_name
from lightning_nas.latency.timing import Selection
from lightning_nas.ranking import spearman
from lightning_nas.spaces import Path, SearchSpace

FORMAT = 1

Floats = NDArray[np.float64]

STRENGTHS = np.logspace(-6, 3, 10)
"""Of the ridge, from hardly any."""


Values = tuple[tuple[float | None, ...], ...]
"""Milliseconds of every choice of every decision."""


@dataclass(frozen=True)
class LatencyTable:
    """A time for every choice of every decision, measured on one device.

    Attributes:
        space: The space, in plain types (``SearchSpace.describe``).
        base: Milliseconds of a network of the fastest choices.
        choices: For every decision the milliseconds that its choices add to that, from 0; None are choices that no path
            of the space takes.
        conditions: On what and how was measured (``Conditions.facts``).
        measured: How many networks the values come from.
        held_out: How many other measurements they were compared with.
        spearman: Rank correlation of predicted and measured latencies of those; None where it is undefined.
        mean_error: Mean distance of the two, as a share of the measured one.
    """

    space: dict[str, Any]
    base: float
    choices: Values
    conditions: dict[str, Any]
    measured: int
    held_out: int
    spearman: float | None
    mean_error: float

    @classmethod
    def fit(
        cls, space: SearchSpace, selection: Selection, latencies: ArrayLike, conditions: dict[str, Any]
    ) -> "LatencyTable":
        """The table of what was measured.

        Args:
            space: The space.
            selection: The networks that were measured.
            latencies: Those of ``selection.paths`` in milliseconds, shape (n,).
            conditions: On what and how was measured.
        """
        milliseconds = np.asarray(latencies, dtype=np.float64)
        number = len(selection.fitted)
        base, choices = _regression(space, selection.fitted, milliseconds[:number])
        measured = milliseconds[number:]
        predicted = np.array([_sum(base, choices, path) for path in selection.held_out])
        correlation = spearman(predicted, measured)
        return cls(
            space.describe(),
            base,
            choices,
            conditions,
            measured=number,
            held_out=len(measured),
            spearman=None if math.isnan(correlation) else correlation,
            mean_error=float((abs(predicted - measured) / measured).mean()),
        )

    def predict(self, path: Path) -> float:
        """The latency of the network of a path, in milliseconds."""
        return _sum(self.base, self.choices, path)

    @property
    def source(self) -> str:
        """Which table it is: a fingerprint, and on what was measured."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"table {digest}, {self.setting}"

    @property
    def setting(self) -> str:
        """On what and how was measured, in words."""
        facts = self.conditions
        threads = f"{facts['threads']} thread{'s' * (facts['threads'] > 1)}, " * (facts["device"] == "cpu")
        layout = ", channels last" * facts["channels_last"]
        clock = ", process clock" * (facts["clock"] == "process")
        return f"{facts['device_name']} ({threads}batch {facts['batch']}, precision {facts['precision']}{layout}{clock})"

    @property
    def agreement(self) -> str:
        """How well it predicts networks that were held out, in words."""
        correlation = "undefined" if self.spearman is None else f"{self.spearman:.2f}"
        return f"{self.held_out} held out: Spearman {correlation}, mean error {self.mean_error:.1%}"

    @property
    def told(self) -> str:
        """What a user of the table must know, in words."""
        here = device_name(self.conditions["device"])
        elsewhere = "" if here == self.conditions["device_name"] else f"; here it would be {here}"
        return f"{self.setting}; {self.agreement}{elsewhere}"

    def write(self, file: File) -> None:
        """Writes a JSON file, whole or not at all."""
        with written_whole(file) as temporary:
            temporary.write_text(
                json.dumps({"format": FORMAT, "unit": "ms", **asdict(self)}, indent=2) + "\n"
            )

    @classmethod
    def read(cls, file: File, space: SearchSpace) -> "LatencyTable":
        """The table of a file.

        Args:
            file: What ``write`` wrote.
            space: The space whose paths are looked up: the one that was measured, or a part of it.

        Raises:
            NASError: The file is missing or no such table, or one of another space.
        """
        loaded = _loaded(file)
        try:
            _require_space(loaded["space"], space, file)
            loaded["choices"] = tuple(
                tuple(None if value is None else float(value) for value in values)
                for values in loaded["choices"]
            )
            if tuple(map(len, loaded["choices"])) != space.num_choices:
                raise ValueError(f"it must have a value for each of {space.num_choices} choices")
            return cls(**{field.name: loaded[field.name] for field in fields(cls)})
        except (KeyError, TypeError, ValueError) as error:
            raise NASError(f"latency.table {str(file)!r} is damaged: {error!r}") from error


def _sum(base: float, choices: Values, path: Path) -> float:
    added = (values[choice] for values, choice in zip(choices, path, strict=True))
    return round(base + math.fsum(value for value in added if value is not None), 6)


def _regression(space: SearchSpace, paths: Sequence[Path], latencies: Floats) -> tuple[float, Values]:
    """The base and the values whose sums have the least squared distance from what was measured, by ridge regression.

    Its strength is chosen by leaving every network out once. In a space of one decision nothing can be left out: every
    choice is a network, and its value its own latency.
    """
    ends = np.cumsum(space.num_choices)
    starts = ends - space.num_choices
    taken = np.zeros((len(paths), ends[-1]))
    for row, path in zip(taken, paths, strict=True):
        row[starts + path] = 1
    known: NDArray[np.bool_] = taken.max(axis=0) > 0
    is_sum = len(space.num_choices) > 1 and len(set(paths)) > 1
    ridge = (RidgeCV(STRENGTHS) if is_sum else Ridge(STRENGTHS[0])).fit(taken, latencies)
    base, choices = float(ridge.intercept_), []
    for start, end in zip(starts, ends, strict=True):
        # Any number may be moved from all choices of a decision to the base. So the fastest one is 0.
        fastest = float(ridge.coef_[start:end][known[start:end]].min())
        base += fastest
        choices.append(
            tuple(float(ridge.coef_[i]) - fastest if known[i] else None for i in range(start, end))
        )
    return base, tuple(choices)


def _loaded(file: File) -> dict[str, Any]:
    try:
        loaded = json.loads(file.read_text())
    except FileNotFoundError:
        raise NASError(f"latency.table is {str(file)!r}, but there is no such file") from None
    except (OSError, ValueError) as error:
        raise NASError(f"latency.table is {str(file)!r}, which cannot be read: {error}") from error
    if not isinstance(loaded, dict) or loaded.get("format") != FORMAT:
        raise NASError(
            f"latency.table is {str(file)!r}, which is no table of format {FORMAT}: lightning-nas latency writes one"
        )
    return loaded


def _require_space(measured: dict[str, Any], space: SearchSpace, file: File) -> None:
    """Refuses the table of another space, in a sentence that says what differs."""
    if measured == space.describe():
        return
    wanted = space.whole.describe()
    before, now = ({"class": one["class_path"], **one["init_args"]} for one in (measured, wanted))
    for key, value in now.items():
        if before.get(key) != value:
            raise NASError(
                f"latency.table is {str(file)!r}, which was measured with {key} {before.get(key)}, but the space here has "
                f"{key} {value}"
            )
