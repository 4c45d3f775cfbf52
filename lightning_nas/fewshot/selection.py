"""Which leaf is believed in, and whether that was right.

Ly-Manson et al. (AutoML 2024), Sec. 4.3: the validation accuracy of a leaf says little about the best path in it.
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning_nas import checkpoint, plots
from lightning_nas.errors import NASError
from lightning_nas.fewshot.folder import Leaves
from lightning_nas.files import written_whole
from lightning_nas.spaces import Path as Architecture

RESULT = "selection.json"


@dataclass(frozen=True)
class Rung:
    """A step of successive halving (Hu et al., GM-NAS: half of the leaves after epochs 30 and 100).

    Attributes:
        epoch: After which leaves are left out.
        keep: The share of them that goes on, between 0 and 1; at least one does.

    Raises:
        NASError: One of the two is out of range.
    """

    epoch: int
    keep: float = 0.5

    def __post_init__(self) -> None:
        if self.epoch < 1 or not 0 < self.keep < 1:
            raise NASError(
                f"halving has epoch {self.epoch} and keep {self.keep}: valid are epochs from 1, and shares between 0 and 1"
            )

    def survivors(self, accuracies: Mapping[int, float]) -> list[int]:
        """The leaves that go on, in their order: those of the highest accuracy, of equals the first.

        Args:
            accuracies: By leaf.
        """
        number = max(1, math.floor(self.keep * len(accuracies)))
        return sorted(sorted(accuracies, key=lambda leaf: (-accuracies[leaf], leaf))[:number])


Halving = tuple[Rung, ...]


def checked(halving: Sequence[Rung], max_epochs: int | None, validated_every: int | None) -> Halving:
    """The rungs, if they follow each other within the run, and leaves are validated before the first.

    Args:
        halving: The rungs.
        max_epochs: Epochs of the run; None or -1 has no end.
        validated_every: After every how many epochs leaves are validated; None where steps say when.

    Raises:
        NASError: They do not, or the run has no end.
    """
    epochs = [rung.epoch for rung in halving]
    if epochs and (max_epochs is None or sorted({*epochs, max_epochs}) != [*epochs, max_epochs]):
        raise NASError(
            f"halving has epochs {epochs}, but they must rise and be less than trainer.max_epochs, which is {max_epochs}"
        )
    if epochs and validated_every is not None and validated_every > epochs[0]:
        raise NASError(
            f"halving has epoch {epochs[0]}, but trainer.check_val_every_n_epoch is {validated_every}: leaves are compared by "
            f"a validation, so valid is 1 to {epochs[0]}"
        )
    return tuple(halving)


class LeafScores(NamedTuple):
    """What the supernet of a leaf says of its paths.

    Attributes:
        epoch: After which epoch.
        accuracies: By architecture in the notation of the space, in percent.
    """

    epoch: int
    accuracies: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean accuracy of its paths in percent: the validation accuracy of the leaf."""
        return sum(self.accuracies.values()) / len(self.accuracies)

    @property
    def first(self) -> str:
        """The path that is ranked first; of equals the first in the order of the table."""
        return max(self.accuracies, key=lambda arch: self.accuracies[arch])


def scores_over_epochs(folder: Path) -> list[LeafScores]:
    """The scores of all validations during the training of a leaf, in their order.

    Args:
        folder: Its run directory, where ``scores/epoch_0010.csv`` and so on are.
    """
    files = sorted((folder / "scores").glob("epoch_*.csv"))
    return [LeafScores(int(file.stem.partition("_")[2]), _accuracies(file)) for file in files]


def last_scores(folder: Path, epoch: int) -> LeafScores:
    """The scores of the last validation up to an epoch.

    Raises:
        NASError: There was none.
    """
    found = [scores for scores in scores_over_epochs(folder) if scores.epoch <= epoch]
    if not found:
        raise NASError(
            f"{folder} has no scores up to epoch {epoch}, by which leaves are left out: lower "
            "trainer.check_val_every_n_epoch"
        )
    return found[-1]


def rows_of(
    leaves: Leaves, root: Path, truth: Mapping[Architecture, float], scored: Iterable[int]
) -> list[dict[str, Any]]:
    """A row for every leaf that scored paths, with its validation accuracy and the path that it ranks first.

    Args:
        leaves: The parts of the space.
        root: Where their run directories are, all with a ``last.ckpt``.
        truth: Ground truth in percent of the paths that have one; may be empty.
        scored: The leaves that have a ``ranking.csv`` of this validation; others may have one of an earlier.
    """
    known = {leaves.space.encode(path): value for path, value in truth.items()}
    folders = [leaves.folder(root, leaf) for leaf in range(len(leaves.parts))]
    epochs = [checkpoint.read(folder / "last.ckpt")["epoch"] for folder in folders]
    rows = []
    for leaf in scored:
        scores = LeafScores(epochs[leaf], _accuracies(folders[leaf] / "ranking.csv"))
        facts = {"leaf": leaf, "paths": leaves.parts[leaf].size, "finished": epochs[leaf] == max(epochs)}
        rows.append(facts | {"accuracy": round(scores.mean, 4), **_winner(scores, known)})
    return rows


def choose(rows: Sequence[dict[str, Any]], by: Literal["accuracy", "retrained"]) -> dict[str, Any]:
    """Chooses one of the leaves that were trained to the end, and says how that compares with what could have been chosen.

    Args:
        rows: A row for every leaf that scored paths.
        by: The column whose highest value is chosen; of equals the first leaf.

    Returns:
        In plain types, as in ``selection.json``. ``regret`` is the ground truth that was lost by the choice of the leaf:
        the best of the paths that leaves rank first, also leaves that were left out, minus that of the chosen leaf.

    Raises:
        NASError: None of them was trained to the end.
    """
    finished = [row for row in rows if row["finished"]]
    if not finished:
        raise NASError("no leaf that was trained to the end has a path that was scored: raise ranking.paths")
    selected = max(finished, key=lambda row: (row[by], -row["leaf"]))
    return {"by": by, **_with_regret(selected, rows), "leaves": list(rows)}


def write_selection(selection: Mapping[str, Any], root: Path) -> None:
    """Writes ``selection.json``."""
    with written_whole(root / RESULT) as temporary:
        temporary.write_text(json.dumps(selection, indent=2) + "\n")


def _winner(scores: LeafScores, truth: Mapping[str, float]) -> dict[str, Any]:
    arch = scores.first
    return {"arch": arch, "score": round(scores.accuracies[arch], 4), "ground_truth": truth.get(arch)}


def _with_regret(selected: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The chosen leaf, and the one that should have been chosen."""
    found = {key: selected[key] for key in ("leaf", "arch", "accuracy", "ground_truth")}
    known = [row for row in rows if row["ground_truth"] is not None]
    if selected["ground_truth"] is None or not known:
        return found | {"best_leaf": None, "regret": None}
    best = max(known, key=lambda row: (row["ground_truth"], -row["leaf"]))
    return found | {
        "best_leaf": best["leaf"],
        "regret": round(best["ground_truth"] - selected["ground_truth"], 4),
    }


def draw(leaves: Leaves, root: Path, truth: Mapping[Architecture, float]) -> None:
    """Writes ``leaves_over_epochs.csv`` and ``.png`` from the validations during the training.

    After every epoch they say which leaf would have been chosen, and the regret.

    Args:
        leaves: The parts of the space.
        root: Where their run directories are.
        truth: Ground truth in percent of the paths that have one; may be empty.
    """
    known = {leaves.space.encode(path): value for path, value in truth.items()}
    rows = [
        {"epoch": scores.epoch, "leaf": leaf, "accuracy": round(scores.mean, 4), **_winner(scores, known)}
        for leaf in range(len(leaves.parts))
        for scores in scores_over_epochs(leaves.folder(root, leaf))
    ]
    if not rows:
        return
    rows.sort(key=lambda row: (row["epoch"], row["leaf"]))
    for row in rows:
        alive = [other for other in rows if other["epoch"] == row["epoch"]]
        choice = _with_regret(max(alive, key=lambda other: (other["accuracy"], -other["leaf"])), alive)
        row |= {"chosen": choice["leaf"], "regret": choice["regret"]}
    plots.save_table(root / "leaves_over_epochs.csv", {name: [row[name] for row in rows] for name in rows[0]})
    has_truth = all(row["ground_truth"] is not None for row in rows)
    figure = plots.leaves_over_epochs(
        _curves(rows, "accuracy"), _curves(rows, "ground_truth") if has_truth else {}
    )
    plots.save(figure, root / "leaves_over_epochs.png")


def _curves(
    rows: Sequence[Mapping[str, Any]], column: str
) -> dict[int, tuple[Sequence[int], Sequence[float]]]:
    numbers = sorted({row["leaf"] for row in rows})
    of = {leaf: [row for row in rows if row["leaf"] == leaf] for leaf in numbers}
    return {leaf: ([r["epoch"] for r in found], [r[column] for r in found]) for leaf, found in of.items()}


def _accuracies(file: Path) -> dict[str, float]:
    with file.open(newline="") as table:
        return {row["arch"]: float(row["accuracy"]) for row in csv.DictReader(table)}
