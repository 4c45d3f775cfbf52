"""What a network may cost."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np

from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.latency import LatencyTable
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import Path, SearchSpace

STARTS = 16
"""Climbs towards a feasible path, where a space is too large to look at every path."""

TRIES = 1000
"""Random paths that are tried before a feasible one is climbed to."""


@dataclass(frozen=True)
class Constraint:
    """A window for a number that every path has.

    Attributes:
        name: What the number is, such as ``macs``.
        value: The number of a path.
        low: The smallest that is allowed.
        high: The largest that is allowed.
        unit: Of the number, where it has one.
        source: Where the number comes from, in words, where it is not a fact of the space.
    """

    name: str
    value: Callable[[Path], float]
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise NASError(f"{self} is an empty window: the smallest number must not be above the largest")

    def violation(self, path: Path) -> float:
        """How far a path is outside of the window, as a share of its edge; 0 inside."""
        value = self.value(path)
        edge = min(max(value, self.low), self.high)
        return 0.0 if value == edge else abs(value - edge) / (abs(edge) or 1.0)

    def __str__(self) -> str:
        bounds = [f"at least {self.shown(self.low)}"] if self.low > -math.inf else []
        bounds += [f"at most {self.shown(self.high)}"] if self.high < math.inf else []
        return f"{self.name} {' and '.join(bounds) or 'without a limit'}"

    def shown(self, number: float) -> str:
        """A number with its unit."""
        return f"{number:,.10g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Limits:
    """What the stand-alone network may cost.

    Attributes:
        max_params: The most parameters of the stand-alone network; None is no limit.
        min_params: The fewest.
        max_macs: The most multiply-adds of one image.
        min_macs: The fewest.
    """

    max_params: float | None = None
    min_params: float | None = None
    max_macs: float | None = None
    min_macs: float | None = None

    def constraints(self, space: SearchSpace) -> list[Constraint]:
        """The windows that were asked for.

        Raises:
            NASError: A window is empty.
        """
        windows = {"params": (self.min_params, self.max_params), "macs": (self.min_macs, self.max_macs)}
        return [
            Constraint(name, partial(_cost, space, name), *_edges(*window))
            for name, window in windows.items()
            if window != (None, None)
        ]


def _cost(space: SearchSpace, name: str, path: Path) -> float:
    return float(getattr(space.cost(path), name))


def _edges(low: float | None, high: float | None) -> tuple[float, float]:
    """The window between two limits; a side without one is open."""
    return -math.inf if low is None else low, math.inf if high is None else high


@dataclass(frozen=True)
class Latency:
    """What the stand-alone network may take on a device, as a table of measurements predicts it.

    Without a limit, the latency of every path is shown beside its score.

    Attributes:
        table: The file, which ``lightning-nas latency`` writes.
        max: The most milliseconds; None is no limit.
        min: The fewest.

    Raises:
        NASError: There is no table.
    """

    table: str = ""
    max: float | None = None
    min: float | None = None

    def __post_init__(self) -> None:
        if not self.table:
            raise NASError("latency.table is not given: lightning-nas latency writes such a file")

    def constraint(self, table: LatencyTable) -> Constraint:
        """The window that was asked for.

        Args:
            table: What the file holds.

        Raises:
            NASError: The window is empty.
        """
        return Constraint(
            "latency", table.predict, *_edges(self.min, self.max), unit="ms", source=table.source
        )


@dataclass(frozen=True)
class FeasibleSpace:
    """The paths of a space that satisfy all constraints.

    Args:
        space: The space.
        constraints: What its paths must satisfy; possibly nothing.

    Raises:
        NASError: No path satisfies them; the sentence says how near one comes.
    """

    space: SearchSpace
    constraints: Sequence[Constraint] = ()

    def __post_init__(self) -> None:
        if not self.constraints:
            return
        nearest = self._nearest()
        if self._violation(nearest):
            asked = ", ".join(map(str, self.constraints))
            reached = ", ".join(f"{one.name} {one.shown(one.value(nearest))}" for one in self.constraints)
            # Of a space that is too large to look at every path, climbs may miss one.
            none = "no path has" if self.space.size <= ENUMERABLE else "no path was found that has"
            raise NASError(f"{none} {asked}: the nearest, {self.space.encode(nearest)!r}, has {reached}")

    def __contains__(self, path: Path) -> bool:
        return self.space.is_valid(path) and not self._violation(path)

    def sample(self, rng: np.random.Generator) -> Path:
        """One feasible path: uniform over them, unless they are so rare in a large space that it is climbed to."""
        for _ in range(TRIES):
            path = self.space.sample(rng)
            if not self._violation(path):
                return path
        if self.space.size <= ENUMERABLE:
            return self.paths[rng.integers(len(self.paths))]
        while self._violation(path := self._climb(self.space.sample(rng), rng)):
            pass
        return path

    def near(self, path: Path, rng: np.random.Generator) -> Path | None:
        """A feasible path that some changes of single decisions away from ``path`` lead to; None where they do not."""
        reached = self._climb(path, rng)
        return None if self._violation(reached) else reached

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """All of them, in the order of the space.

        Raises:
            NASError: The space is too large to look at every path.
        """
        if self.space.size > ENUMERABLE:
            raise NASError(f"the space has {self.space.size:.3g} paths: {ENUMERABLE} can be looked at")
        return tuple(path for path in self.space if not self._violation(path))

    def _nearest(self) -> Path:
        """The path that violates the constraints the least: of all, where there are not too many."""
        candidates: Iterable[Path] = self.space
        if self.space.size > ENUMERABLE:
            rng = generator(0, Stream.FEASIBLE)
            candidates = (self._climb(self.space.sample(rng), rng) for _ in range(STARTS))
        nearest = None
        for path in candidates:
            if nearest is None or self._violation(path) < self._violation(nearest):
                nearest = path
            if not self._violation(nearest):
                break
        assert nearest is not None
        return nearest

    def _climb(self, path: Path, rng: np.random.Generator) -> Path:
        """From neighbour to neighbour while the violation falls, taking any that is better in random order."""
        while self._violation(path):
            neighbours = list(self.space.neighbours(path))
            order = rng.permutation(len(neighbours))
            better = (neighbours[i] for i in order if self._violation(neighbours[i]) < self._violation(path))
            if (step := next(better, None)) is None:
                return path
            path = step
        return path

    @cached_property
    def _violation(self) -> Callable[[Path], float]:
        # A search asks for the same paths again and again, and a cost takes up to 250 us; it may ask for millions, too.
        return lru_cache(maxsize=ENUMERABLE)(
            lambda path: sum(constraint.violation(path) for constraint in self.constraints)
        )
