"""Splitting a space again and again: a tree, whose leaves have supernets of their own."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from lightning_nas.errors import NASError
from lightning_nas.fewshot.metrics import Division, Fork, SplitMetric, Subject
from lightning_nas.spaces import RestrictedSpace, SearchSpace
from lightning_nas.spaces.base import Choices


@dataclass(frozen=True)
class Plan:
    """How a space is split.

    Attributes:
        depth: Levels of the tree: how often a part is divided.
        branching: Groups at every level, 2 or more, or as many as a decision has choices; the last number stands for all
            levels that follow.
        order: ``fixed``: the decisions one after the other. ``score``: every part is divided at the decision whose groups
            differ the most (Hu et al., GM-NAS).
        decisions: Those at which parts are divided, in the ``fixed`` order, or from which ``score`` chooses; None for all,
            from the first.
        balanced: Whether groups are cut in equal halves.

    Raises:
        NASError: A number is out of range, there are more than levels, or a decision stands twice.
    """

    depth: int = 3
    branching: tuple[int, ...] = (2,)
    order: Literal["fixed", "score"] = "fixed"
    decisions: tuple[int, ...] | None = None
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise NASError(f"depth is {self.depth}: valid are numbers from 1")
        if not self.branching or min(self.branching) < 2:
            raise NASError(
                f"branching is {list(self.branching)}: valid are numbers from 2, one for every level or fewer"
            )
        if len(self.branching) > self.depth:
            raise NASError(
                f"branching is {list(self.branching)}, but depth is {self.depth}: valid are as many numbers, or fewer"
            )
        if self.decisions is not None and len(set(self.decisions)) < len(self.decisions):
            raise NASError(f"decisions is {list(self.decisions)}, but a decision can be split only once")

    def groups(self, level: int) -> int:
        """How many groups a part of that level, from 0, is divided into."""
        return self.branching[min(level, len(self.branching) - 1)]

    def check(self, metric: SplitMetric) -> None:
        """Looks whether a metric can be followed.

        Raises:
            NASError: Decisions are to be compared, and it does not compare them.
        """
        if self.order == "score" and not metric.knows_distances:
            raise NASError(
                f"order is 'score', but the metric {type(metric).__name__} knows no distances: valid is 'fixed'"
            )

    def candidates(self, space: SearchSpace) -> tuple[int, ...]:
        """The decisions at which a space may be divided.

        Raises:
            NASError: It has no such decision, or fewer than there are levels.
        """
        known = len(space.num_choices)
        found = tuple(range(known)) if self.decisions is None else self.decisions
        for decision in found:
            if not 0 <= decision < known:
                raise NASError(f"decisions has {decision}: valid are 0 to {known - 1}")
        found = tuple(decision for decision in found if len(options(space, decision)) > 1)
        if len(found) < self.depth:
            raise NASError(
                f"depth is {self.depth}, but there are only {len(found)} decisions with a choice to split at: valid is "
                f"1 to {len(found)}"
                if found
                else "no decision has a choice to split at"
            )
        return found


@dataclass(frozen=True)
class Node:
    """A part of the space, and how it was divided.

    Attributes:
        space: The part.
        decision: Where it was divided; None in a leaf.
        division: How; None in a leaf.
        children: The parts of the part.
    """

    space: SearchSpace
    decision: int | None = None
    division: Division | None = None
    children: tuple["Node", ...] = ()

    @property
    def leaves(self) -> tuple["Node", ...]:
        """The parts that are divided no further, from left to right: disjoint, and together all paths."""
        return tuple(self._leaves())

    def _leaves(self) -> Iterator["Node"]:
        if not self.children:
            yield self
        for child in self.children:
            yield from child._leaves()


def split(subject: Subject, metric: SplitMetric, plan: Plan) -> Node:
    """Splits a space.

    Args:
        subject: The space, its supernet and data.
        metric: Says which choices belong together.
        plan: How often, and where.

    Raises:
        NASError: The space has too few decisions, the metric cannot be had of its supernet, or does not suit the plan.
    """
    plan.check(metric)
    root = restricted(subject.space, subject.space.choices)
    return _grown(Growth(subject, metric, plan, plan.candidates(root)), root, place=(), divided=())


class Growth(NamedTuple):
    """What does not change while a tree grows.

    Attributes:
        subject: The space, its supernet and data.
        metric: Says which choices belong together.
        plan: How often, and where.
        candidates: The decisions at which parts may be divided.
    """

    subject: Subject
    metric: SplitMetric
    plan: Plan
    candidates: tuple[int, ...]

    def divide(self, part: SearchSpace, decision: int, place: tuple[int, ...]) -> Division:
        """How a part is divided at a decision."""
        number, balanced = self.plan.groups(len(place)), self.plan.balanced
        fork = Fork(part, decision, options(part, decision), number, balanced, place)
        return self.metric.divide(self.subject, fork)


def _grown(growth: Growth, part: RestrictedSpace, place: tuple[int, ...], divided: tuple[int, ...]) -> Node:
    """The tree of a part.

    Args:
        growth: What does not change.
        part: The part.
        place: Which child was taken at every level above.
        divided: The decisions that were looked at above.
    """
    if len(place) == growth.plan.depth:
        return Node(part)
    left = [decision for decision in growth.candidates if decision not in divided]
    if growth.plan.order == "fixed":
        left = left[:1]
    divisions = {
        decision: growth.divide(part, decision, place)
        for decision in left
        if len(options(part, decision)) > 1  # or else the decisions above have settled this one
    }
    if not divisions:
        return _grown(growth, part, (*place, 0), (*divided, *left))
    decision = next(iter(divisions))
    if growth.plan.order == "score":
        decision = max(divisions, key=lambda one: divisions[one].separation or 0.0)
    children = tuple(
        _grown(growth, _with(part, decision, group), (*place, number), (*divided, decision))
        for number, group in enumerate(divisions[decision].groups)
    )
    return Node(part, decision, divisions[decision], children)


def _with(part: RestrictedSpace, decision: int, kept: tuple[int, ...]) -> RestrictedSpace:
    return RestrictedSpace(part.space, (*part.allowed[:decision], kept, *part.allowed[decision + 1 :]))


def options(space: SearchSpace, decision: int) -> tuple[int, ...]:
    """The choices that some path of a space takes at a decision."""
    choices = space.choices
    return tuple(
        choice
        for choice in choices[decision]
        if space.count((), (*choices[:decision], (choice,), *choices[decision + 1 :]))
    )


def restricted(space: SearchSpace, choices: Choices) -> RestrictedSpace:
    """A part of a space; of a restriction, another restriction of the same space."""
    return RestrictedSpace(space.space if isinstance(space, RestrictedSpace) else space, choices)
