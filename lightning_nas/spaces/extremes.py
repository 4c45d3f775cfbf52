"""The smallest and the largest cost in a space, without looking at all of its paths."""

from collections.abc import Callable
from typing import Literal

from lightning_nas.spaces.base import Path, SearchSpace

STARTS = 16


def extreme_costs(space: SearchSpace, cost: Literal["params", "macs"]) -> tuple[int, int]:
    """The smallest and the largest cost of a path.

    Both are found by climbing from path to path while the change of one decision helps. That is exact wherever the best
    choice of a decision does not depend on the others, as in all spaces here whose decisions combine freely. In the
    others climbs begin at several paths, and the best one counts.

    Args:
        space: The space.
        cost: Parameters or multiply-adds of the stand-alone network.
    """

    def of(path: Path) -> int:
        return int(getattr(space.cost(path), cost))

    starts = 1 if space.is_product else min(STARTS, space.size)
    paths = [space[number * (space.size - 1) // max(1, starts - 1)] for number in range(starts)]
    return (
        min(-_climb(space, path, lambda path: -of(path)) for path in paths),
        max(_climb(space, path, of) for path in paths),
    )


def _climb(space: SearchSpace, path: Path, height: Callable[[Path], int]) -> int:
    while True:
        higher = max((path, *space.neighbours(path)), key=height)
        if higher == path:
            return height(path)
        path = higher
