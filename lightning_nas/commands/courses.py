"""How the criteria of ``lightning-nas rank`` develop: over the epochs of a training, over the batches of a validation."""

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from lightning_nas import plots
from lightning_nas.errors import NASError
from lightning_nas.ranking import kendall_tau, precision_at_top
from lightning_nas.ranking.complexity import complexity_groups
from lightning_nas.ranking.metrics import Floats
from lightning_nas.ranking.stability import stability
from lightning_nas.ranking.table import ScoreTable

ByBatches = dict[int, dict[str, float]]
"""For every number of batches its criteria."""


def over_epochs(
    folder: Path,
    archs: Sequence[str],
    truth: Floats | None,
    complexity: tuple[str, Floats] | None,
    like: Path,
) -> dict[str, Figure]:
    """Tau, stability, and the accuracy of the complexity groups, over the epochs whose scores are in a folder.

    Args:
        folder: With files such as epoch_0001.csv.
        archs: Encoded architectures of the ranking, n of them.
        truth: Ground truth in percent, shape (n,); None where it is not known.
        complexity: Name and values of a cost, shape (n,); None where all are alike or it is not known.
        like: The file of the ranking, for error messages.

    Raises:
        NASError: There are no such files, or they score other architectures.
    """
    tables = _read(folder, "epoch", "of epochs: needed are files such as epoch_0001.csv")
    # A training usually scores a part of the paths.
    scored = set(next(iter(tables.values())).archs)
    part = [i for i, arch in enumerate(archs) if arch in scored]
    ordered = [table.ordered_as([archs[i] for i in part], like) for table in tables.values()]
    epochs, figures = list(tables), {}
    accuracies = np.array([table.columns["accuracy"] for table in ordered])
    if truth is not None:
        taus = {"accuracy": [kendall_tau(scores, truth[part]) for scores in accuracies]}
        if all("loss" in table.columns for table in ordered):
            taus["-loss"] = [kendall_tau(-table.columns["loss"], truth[part]) for table in ordered]
        figures["tau_over_epochs"] = plots.tau_over_epochs(epochs, taus)
    if len(epochs) > 1:
        steps = [stability(*pair) for pair in itertools.pairwise(accuracies)]
        curves = {name: [step[name] for step in steps] for name in steps[0]}
        figures["stability_over_epochs"] = plots.stability_over_epochs(epochs[1:], curves)
    if complexity is not None:
        name, cost = complexity[0], complexity[1][part]
        means = [accuracies[:, group].mean(axis=1) for group in complexity_groups(cost)]
        figures["accuracy_over_epochs"] = plots.accuracy_over_epochs(
            epochs, means, group_labels(cost), f"million {name}"
        )
    return figures


def over_batches(folder: Path, archs: Sequence[str], truth: Floats | None, like: Path) -> ByBatches:
    """What fewer validation batches would have said, after Ning et al. (2021), Fig. 3 and A3.

    Args:
        folder: With files such as batches_0001.csv, as a validation with ranking.by_batches writes them.
        archs: Encoded architectures of the ranking, n of them.
        truth: Ground truth in percent, shape (n,); None where it is not known.
        like: The file of the ranking, for error messages.

    Returns:
        For accuracy and -loss after so many batches: tau with the ground truth (``tau``) and with the same score of
        all batches (``tau_to_all``), and the share of the 5 % truly best among those ranked best (``p_at_top_5``).

    Raises:
        NASError: There are no such files, or they score other architectures.
    """
    tables = _read(folder, "batches", "of batches: validate with --ranking.by_batches true writes them")
    ordered = {batches: table.ordered_as(archs, like) for batches, table in tables.items()}
    found: ByBatches = {batches: {} for batches in ordered}
    for column, name, sign in (("accuracy", "accuracy", 1), ("loss", "-loss", -1)):
        if any(column not in table.columns for table in ordered.values()):
            continue
        scores = {batches: sign * table.columns[column] for batches, table in ordered.items()}
        for batches, some in scores.items():
            if truth is not None:
                found[batches][f"tau {name}"] = kendall_tau(some, truth)
                found[batches][f"p_at_top_5 {name}"] = precision_at_top(some, truth, 5)
            found[batches][f"tau_to_all {name}"] = kendall_tau(some, scores[max(scores)])
    return found


def batches_table(found: ByBatches) -> Table:
    """A row for every number of batches."""
    table = Table("batches", title="Scores of the first batches alone")
    for name in next(iter(found.values())):
        table.add_column(name, justify="right")
    for batches, criteria in found.items():
        table.add_row(str(batches), *map(number, criteria.values()))
    return table


def group_labels(cost: Floats) -> list[str]:
    """What the complexity groups hold in millions, such as ``0.39 to 0.62``."""
    groups = complexity_groups(cost)
    return [f"{cost[group[0]] / 1e6:.3g} to {cost[group[-1]] / 1e6:.3g}" for group in groups]


def number(value: float | None) -> str:
    """Whole and large numbers whole, others with four decimals; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 10_000 else f"{value:z.4f}"


def _read(folder: Path, kind: str, needed: str) -> dict[int, ScoreTable]:
    """The score tables of a kind by their number."""
    name = re.compile(rf"{kind}_(\d+)\.csv")
    files = sorted(
        (int(match[1]), file) for file in folder.glob("*.csv") if (match := name.fullmatch(file.name))
    )
    if not files:
        raise NASError(f"{folder} holds no scores {needed}")
    return {number: ScoreTable.read(file) for number, file in files}
