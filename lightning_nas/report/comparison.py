"""What runs have in common, and in what they differ."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_nas.report.facts import (
    FOLDER,
    LOGGER,
    flat,
    identity,
    measures,
    plain,
    rankings,
    seeds,
    settings,
    shortened,
    words,
)
from lightning_nas.report.run import Run

MOST_SETTINGS = 3
COUNTS = ("n", "leaves")  # of what was ranked, not how well
ABSENT = "-"


@dataclass(frozen=True)
class Spread:
    """A number over the seeds of a method.

    Attributes:
        mean: Over seeds.
        deviation: Standard deviation of the seeds as a sample; None of a single one.
    """

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Method:
    """Runs that differ in nothing but the seed.

    Attributes:
        name: What tells it from the other methods of the page.
        runs: At least one.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> dict[str, list[Run]]:
        """The runs of every seed; a run without one is a seed of its own."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            key = str(seeds(run)) if seeds(run) else str(run.folder.resolve())
            found.setdefault(key, []).append(run)
        return found

    def values(self, name: str) -> list[float]:
        """A number of every seed that has it; of runs with the same seed the mean counts."""
        by_seed = [
            [found[name] for run in runs if name in (found := numbers(run))] for runs in self.seeds.values()
        ]
        return [statistics.fmean(found) for found in by_seed if found]

    def spreads(self) -> dict[str, Spread]:
        """Every number that a run of the method has."""
        names = dict.fromkeys(name for run in self.runs for name in numbers(run))
        return {name: _spread(self.values(name)) for name in names}


def numbers(run: Run) -> dict[str, float]:
    """All by which runs are compared."""
    criteria = next(iter(rankings(run).values()), {})
    return measures(run) | {name: value for name, value in criteria.items() if name not in COUNTS}


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def methods(runs: Sequence[Run]) -> list[Method]:
    """The runs by method, in the order of the first of each."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(identity(run), []).append(run)
    found = list(groups.values())
    return [Method(name, tuple(group)) for name, group in zip(_names(found), found, strict=True)]


def _names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """What every group calls its method; where several say the same, with that in which they differ."""
    called = [words(group[0])["method"] or words(group[0])["kind"] for group in groups]
    names = []
    for group, name in zip(groups, called, strict=True):
        rivals = [other[0] for other, theirs in zip(groups, called, strict=True) if theirs == name]
        names.append(f"{name}, {_particulars(group, rivals)}" if len(rivals) > 1 else name)
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({_labels(group)})" for name, group in zip(names, groups, strict=True)]


def _particulars(group: Sequence[Run], rivals: Sequence[Run]) -> str:
    """What tells a group from those of the same name: a fact that it alone has, or else a few settings, or its labels."""
    for fact in ("space", "data", "kind"):
        own = words(group[0])[fact]
        if own and [words(rival)[fact] for rival in rivals].count(own) == 1:
            return own
    tree, seed = flat(settings(group[0])), seeds(group[0])
    differing = [key for key in differences(rivals) if key not in seed and not key.startswith(LOGGER)]
    said = [_setting(key, plain(tree[key])) for key in differing if tree.get(key) is not None]
    return ", ".join(said) if 0 < len(said) <= MOST_SETTINGS else _labels(group)


def _labels(group: Sequence[Run]) -> str:
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return group[0].label + more


def _setting(key: str, value: str) -> str:
    """A setting in few words: classes by their names alone."""
    owner, _, name = key.rpartition(".")
    if name == "class_path":
        name, value = owner.rpartition(".")[2], value.rpartition(".")[2]
    return f"{name} {shortened(value)}"


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The settings that are not the same in all runs, as text, one per run; a dash is what is not set."""
    trees = [flat(settings(run)) for run in runs]
    keys = dict.fromkeys(key for tree in trees for key in tree if key != FOLDER)
    found = {key: [ABSENT if tree.get(key) is None else plain(tree[key]) for tree in trees] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def environments(runs: Sequence[Run]) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """What runs were made with, and the labels of those that have it in common; empty what was not recorded."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run in runs:
        known = {
            tuple((key, _said(facts, key)) for key in facts if key not in ("command", "folder"))
            for facts in run.environment.values()
        }
        for facts in sorted(known) or [()]:
            found.setdefault(facts, []).append(run.label)
    return found


def _said(facts: Mapping[str, object], key: str) -> str:
    return "" if facts[key] is None else plain(facts[key])
