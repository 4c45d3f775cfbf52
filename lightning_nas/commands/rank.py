"""``lightning-nas rank``: every criterion of a ranking, from the files of a run."""

import itertools
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from lightning_nas import plots
from lightning_nas.commands.courses import (
    ByBatches,
    batches_table,
    group_labels,
    number,
    over_batches,
    over_epochs,
)
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole
from lightning_nas.ranking import TabularBenchmark, kendall_tau
from lightning_nas.ranking.chunks import released_sample
from lightning_nas.ranking.complexity import complexity_groups, convergence_correlation
from lightning_nas.ranking.metrics import Floats
from lightning_nas.ranking.mutation import MutationBias, Mutations, mutation_bias, mutations
from lightning_nas.ranking.report import (
    complexity_report,
    isomorphism_report,
    plain_criteria,
    plain_report,
    ranking_report,
)
from lightning_nas.ranking.stability import stability
from lightning_nas.ranking.table import ScoreTable, average
from lightning_nas.spaces import NASBench201, SearchSpace

Report = dict[str, dict[str, float]]
"""For every score its criteria."""

COSTS = ("params", "macs")
RELEASED_LIST = "imagenet16_120"
MAX_NAMES = 12  # more choices cannot be read in a heat map
PRINTED_MUTATIONS = 10
# The first criterion of every family, above which the printed table has a line.
FAMILIES = ("p_at_top_1", "top1_ground_truth", "complexity_bias", "iso_classes", "rel_kendall_tau")


@dataclass(frozen=True)
class Subject:
    """What is ranked, in the order of the first file.

    Attributes:
        archs: Encoded architectures, n of them.
        scores: Every score by name, higher is better, shape (n,): of the supernet, and costs as baselines.
        truth: Ground truth in percent, shape (n,); None where it is not known.
        complexity: Name and values of the cost by which architectures are small or large; None where all are
            alike or it is not known.
        sample: The paths of the published list of NAS-Bench-201, where the table of ground truth tells them.
        keys: The isomorphism class of every architecture, where the space is known.
        pairs: Pairs of architectures that differ in one decision, where the space is known.
        guessing: The accuracy of guessing in percent, where the space is known.
    """

    archs: tuple[str, ...]
    scores: dict[str, Floats]
    truth: Floats | None
    complexity: tuple[str, Floats] | None
    sample: list[int] = field(default_factory=list)
    keys: list[Hashable] | None = None
    pairs: Mutations | None = None
    guessing: float = 0


def rank(
    files: list[Path],
    *,
    space: SearchSpace | None = None,
    benchmark: Path | None = None,
    dataset: str | None = None,
    against: Path | None = None,
    epochs: Path | None = None,
    batches: Path | None = None,
    out: Path | None = None,
) -> None:
    """Compute every criterion of a ranking from the ranking.csv of one or several runs, and print a table.

    The accuracy of the supernet, its loss, parameters and multiply-adds are judged as scores side by side.

    Args:
        files: One ranking.csv, or several of the same architectures, whose scores are averaged: in front of all
            options, with spaces between them.
        space: The search space, which also tells isomorphic architectures and the bias of operations. Its
            num_classes says which accuracy is guessing.
        benchmark: A table of ground truth (CSV); without one it is that of the files.
        dataset: Column of the table; None takes the only one.
        against: The ranking.csv of another checkpoint: how much the ranking changed until then.
        epochs: A folder of scores during training, epoch_0001.csv and so on with the columns arch and accuracy, of the
            same architectures or some of them; they are drawn, which needs out.
        batches: A folder of scores of a validation with ranking.by_batches, batches_0001.csv and so on, of the same
            architectures: how good the ranking is after so many batches, and how like that of all.
        out: Folder for rank.json and the figures.

    Raises:
        NASError: A file is missing or wrong, files do not fit each other, or nothing is known to compare with.
    """
    if epochs is not None and out is None:
        raise NASError("out is not given: scores over epochs are drawn, and need a folder for the figures")
    tables = [ScoreTable.read(file) for file in files]
    table = average(tables)
    subject = _subject(table, space, benchmark, dataset)
    if subject.truth is None and subject.keys is None and not (against or epochs or batches):
        raise NASError(
            f"{table.path} has no ground truth to compare with: give --benchmark, or --against another ranking.csv, or "
            "--epochs or --batches with scores of the same paths, or --space for the spread of isomorphic architectures"
        )
    report = _report(subject)
    if against is not None:
        _add_stability(report, subject, table, ScoreTable.read(against))
    biases = _biases(subject)
    by_batches = {} if batches is None else over_batches(batches, subject.archs, subject.truth, table.path)
    console = Console()
    _print(console, report, biases, files)
    if by_batches:
        console.print(batches_table(by_batches))
    if out is not None:
        _write(out / "rank.json", files, report, biases, by_batches)
        figures = _figures(tables, subject, report, biases)
        if epochs is not None:
            figures |= over_epochs(epochs, subject.archs, subject.truth, subject.complexity, table.path)
        if by_batches:
            figures["tau_over_batches"] = plots.tau_over_batches(by_batches)
        for name, figure in figures.items():
            plots.save(figure, out / f"{name}.png")
        console.print(f"rank.json and {len(figures)} figures are in {out}", soft_wrap=True)


# --------------------------------------------------------------------------------------- what is compared


def _subject(
    table: ScoreTable, space: SearchSpace | None, benchmark: Path | None, dataset: str | None
) -> Subject:
    paths = None if space is None else [_decoded(space, table, i) for i in range(len(table.archs))]
    costs = {name: table.columns[name] for name in COSTS if name in table.columns}
    if space is not None and paths is not None and len(costs) < len(COSTS):
        found = [space.cost(path) for path in paths]
        costs = {name: np.array([getattr(cost, name) for cost in found], dtype=np.float64) for name in COSTS}
    scores = {"accuracy": table.columns["accuracy"]}
    if "loss" in table.columns:
        scores["-loss"] = -table.columns["loss"]
    complexity = next(((name, cost) for name, cost in costs.items() if np.ptp(cost)), None)
    truth, sample = table.columns.get("ground_truth"), list[int]()
    if benchmark is not None:
        truth, sample = _from_benchmark(TabularBenchmark.read(benchmark), dataset, table)
    if space is None or paths is None:
        return Subject(table.archs, scores | costs, truth, complexity, sample)
    return Subject(
        archs=table.archs,
        scores=scores | costs,
        truth=truth,
        complexity=complexity,
        sample=sample,
        keys=[space.canonical(path) for path in paths],
        pairs=mutations(paths, space.choice_names),
        guessing=100 / space.num_classes,
    )


def _decoded(space: SearchSpace, table: ScoreTable, i: int) -> tuple[int, ...]:
    try:
        return space.decode(table.archs[i])
    except NASError as error:
        raise NASError(f"{table.path} line {table.lines[i]} column 'arch': {error}") from error


def _from_benchmark(
    benchmark: TabularBenchmark, dataset: str | None, table: ScoreTable
) -> tuple[Floats, list[int]]:
    """Ground truth, and where the ranking has them all the paths of the published list of NAS-Bench-201."""
    accuracy = benchmark.column(dataset)
    for arch, line in zip(table.archs, table.lines, strict=True):
        if arch not in accuracy:
            raise NASError(
                f"{table.path} line {line} ranks architecture {arch!r}, which {benchmark.path} does not have."
            )
    truth = np.array([accuracy[arch] for arch in table.archs])
    position = {arch: i for i, arch in enumerate(table.archs)}
    if RELEASED_LIST not in benchmark.datasets or len(benchmark.archs) != NASBench201().size:
        return truth, []
    listed = [benchmark.archs[i] for i in released_sample(list(benchmark.column(RELEASED_LIST).values()))]
    ranked = all(arch in position for arch in listed)
    return truth, [position[arch] for arch in listed] if ranked else []


# -------------------------------------------------------------------------------------------- the criteria


def _report(subject: Subject) -> Report:
    return {name: _criteria(subject, name, scores) for name, scores in subject.scores.items()}


def _criteria(subject: Subject, name: str, scores: Floats) -> dict[str, float]:
    truth, complexity = subject.truth, subject.complexity
    found: dict[str, float] = {}
    if truth is not None:
        found |= ranking_report(scores, truth)
        if subject.sample:
            found["tau_chunks_released"] = kendall_tau(scores[subject.sample], truth[subject.sample])
    if truth is not None and complexity is not None:
        found |= complexity_report(scores, truth, complexity[1])
    if truth is not None and complexity is not None and name == "accuracy":
        found["complexity_convergence"] = convergence_correlation(scores, truth, complexity[1])
        if subject.guessing:
            found["complexity_convergence_learned"] = convergence_correlation(
                scores, truth, complexity[1], above=subject.guessing
            )
    if subject.keys is not None:
        found |= isomorphism_report(scores, truth, subject.keys)
    return found


def _add_stability(report: Report, subject: Subject, table: ScoreTable, other: ScoreTable) -> None:
    later = other.ordered_as(table.archs, table.path)
    for name, column in (("accuracy", "accuracy"), ("-loss", "loss")):
        if name in subject.scores and column in later.columns:
            sign = -1 if column == "loss" else 1
            report[name] |= stability(subject.scores[name], sign * later.columns[column])


def _biases(subject: Subject) -> dict[str, MutationBias]:
    """The bias of operations by score, of all architectures and of the largest fifth."""
    if subject.pairs is None or not len(subject.pairs.first) or subject.truth is None:
        return {}
    found = {}
    for name in ("accuracy", "-loss"):
        if (scores := subject.scores.get(name)) is not None:
            found[name] = mutation_bias(scores, subject.truth, subject.pairs)
            if subject.complexity is not None:
                largest = complexity_groups(subject.complexity[1])[-1]
                found[f"{name}, largest fifth"] = mutation_bias(
                    scores, subject.truth, subject.pairs.within(largest)
                )
    return found


# ----------------------------------------------------------------------------------------------- the output


def _print(
    console: Console, report: Report, biases: Mapping[str, MutationBias], files: Sequence[Path]
) -> None:
    title = str(files[0]) if len(files) == 1 else f"mean of {len(files)} rankings"
    table = Table("criterion", title=title)
    for name in report:
        table.add_column(name, justify="right")
    for criterion in dict.fromkeys(itertools.chain.from_iterable(report.values())):
        if criterion in FAMILIES:
            table.add_section()
        table.add_row(criterion, *(number(criteria.get(criterion)) for criteria in report.values()))
    console.print(table)
    if "accuracy" in biases:
        console.print(_mutation_table(biases["accuracy"]))


def _mutation_table(bias: MutationBias) -> Table:
    """The replacements that the accuracy misjudges most."""
    table = Table("replaced", "by", title="Most biased mutations (accuracy)")
    for name in ("pairs", "ground truth up", "score up", "bias"):
        table.add_column(name, justify="right")
    cells = sorted(np.argwhere(bias.pairs).tolist(), key=lambda cell: -abs(bias.bias[tuple(cell)]))
    for row, column in cells[:PRINTED_MUTATIONS]:
        numbers = (matrix[row, column] for matrix in (bias.truth_increase, bias.score_increase, bias.bias))
        table.add_row(
            bias.names[row], bias.names[column], f"{bias.pairs[row, column]:,}", *map(number, numbers)
        )
    return table


def _write(
    path: Path,
    files: Sequence[Path],
    report: Report,
    biases: Mapping[str, MutationBias],
    by_batches: ByBatches,
) -> None:
    content = {
        "files": [str(file) for file in files],
        **plain_report(report, biases),
        "batches": plain_criteria(by_batches),
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


# ---------------------------------------------------------------------------------------------- the figures


def _figures(
    tables: Sequence[ScoreTable], subject: Subject, report: Report, biases: Mapping[str, MutationBias]
) -> dict[str, Figure]:
    if subject.truth is None:
        return {}
    by_seed = [table.ordered_as(subject.archs, tables[0].path).columns["accuracy"] for table in tables]
    figures = {"score_vs_ground_truth": plots.score_vs_ground_truth(subject.truth, {"supernet": by_seed})}
    if subject.complexity is not None:
        labels, scores = group_labels(subject.complexity[1]), [name for name in report if name not in COSTS]
        figures["rank_difference"] = plots.rank_difference(
            _by_group(report, scores, "rank_diff", len(labels)),
            _by_group(report, scores, "tau", len(labels)),
            [label.replace(" to ", " to\n") for label in labels],
            f"million {subject.complexity[0]}",
        )
    for name, bias in biases.items():
        if len(bias.names) <= MAX_NAMES and bias.pairs.any():
            figures[f"mutation_bias_{re.sub(r'[^a-z]+', '_', name).strip('_')}"] = plots.operation_bias(
                bias.names, bias.truth_increase, bias.score_increase, bias.bias, name
            )
    return figures


def _by_group(report: Report, scores: Sequence[str], criterion: str, groups: int) -> dict[str, list[float]]:
    return {
        name: [report[name][f"{criterion}_group_{group}"] for group in range(1, groups + 1)]
        for name in scores
    }
