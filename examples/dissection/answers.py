"""What a dissection tells: a row for every question, case and seed."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from examples.comparison.runs import Run
from examples.dissection.dissection import Dissection
from lightning_nas.ranking import ScoreTable, TabularBenchmark, kendall_tau, top_ground_truth


class Answer(NamedTuple):
    """A row.

    Attributes:
        question: What is varied.
        case: To what.
        seed: Of the training.
        paths: How many are ranked.
        accuracy: Their mean accuracy in the supernet, in percent.
        tau: Of the accuracies with the ground truth.
        tau_of_loss: Of the losses, negated.
        top10: Mean ground truth of the ten ranked first.
        tau_to: Of the accuracies with those of what the case is compared with; NaN where there is nothing.
    """

    question: str
    case: str
    seed: int
    paths: int
    accuracy: float
    tau: float
    tau_of_loss: float
    top10: float
    tau_to: float


Truth = dict[str, float]


def answers(found: Dissection) -> list[Answer]:
    """All that is told by the finished runs."""
    seeds, benchmark = found.plan.seeds, TabularBenchmark.read(found.benchmark)
    rows: list[Answer] = []
    for number, seed in enumerate(seeds):
        base = ranked(found.base(seed))
        dataset = found.plan.training["ranking"]["dataset"]
        other = ranked(found.base(seeds[(number + 1) % len(seeds)])) if len(seeds) > 1 else None
        truth = benchmark.column(dataset)
        rows += [
            answer("supernet", "base", seed, base, truth, other),
            *(
                answer("supernet", name, seed, ranked(found.model(name, seed)), truth, base)
                for name in found.plan.models
            ),
            *(
                answer("trained on", name, seed, ranked(found.on(name, seed)), truth, base)
                for name in found.plan.other_data
            ),
            *(
                answer("ground truth", name, seed, base, benchmark.column(name), None)
                for name in benchmark.datasets
            ),
            *of_pruning(found, seed, base, truth),
            *of_batches(found.base(seed), truth),
            *of_checkpoints(found.base(seed), truth),
        ]
    return rows


def of_pruning(found: Dissection, seed: int, base: ScoreTable, truth: Truth) -> Iterator[Answer]:
    """The best paths and the better operations: by the base, and trained by themselves."""
    everything = ranked(found.best(100, seed))
    for keep in found.plan.keep:
        alone = ranked(found.best(keep, seed))
        before, control = restricted(base, alone.archs), restricted(everything, alone.archs)
        question = f"best {keep:g} %"
        yield answer(question, "before", seed, before, truth, None)
        if keep < 100:
            yield answer(question, "all trained on", seed, control, truth, before)
        yield answer(question, "these trained on", seed, alone, truth, before)
    alone, before = ranked(found.fewer(seed)), ScoreTable.read(found.base_of_fewer(seed))
    question = f"{found.plan.drop} operation{'s' if found.plan.drop > 1 else ''} less"
    yield answer(question, "base", seed, before, truth, None)
    yield answer(question, "trained without", seed, alone, truth, before)


def of_batches(base: Run, truth: Truth) -> Iterator[Answer]:
    """Fewer validation batches, compared with all."""
    *_, (_, everything) = numbered(base.folder / "scores", "batches")
    for number, table in numbered(base.folder / "scores", "batches"):
        yield answer("validation batches", str(number), base.seed, table, truth, everything)


def of_checkpoints(base: Run, truth: Truth) -> Iterator[Answer]:
    """Scores during the training, compared with the next ones."""
    tables = list(numbered(base.folder / "scores", "epoch"))
    for (epoch, table), later in itertools.zip_longest(tables, [following for _, following in tables[1:]]):
        yield answer("epoch", str(epoch), base.seed, table, truth, later)


def answer(
    question: str, case: str, seed: int, table: ScoreTable, truth: Truth, reference: ScoreTable | None
) -> Answer:
    """A row about some scores, compared with others on the paths that both have."""
    accuracy, loss = table.columns["accuracy"], table.columns["loss"]
    true = [truth[arch] for arch in table.archs]
    tau_to = np.nan
    if reference is not None:
        others = set(reference.archs)
        shared = [arch for arch in table.archs if arch in others]
        mine, theirs = (restricted(one, shared).columns["accuracy"] for one in (table, reference))
        tau_to = kendall_tau(mine, theirs)
    return Answer(
        question=question,
        case=case,
        seed=seed,
        paths=len(true),
        accuracy=float(accuracy.mean()),
        tau=kendall_tau(accuracy, true),
        tau_of_loss=kendall_tau(-loss, true),
        top10=top_ground_truth(accuracy, true, 10),
        tau_to=tau_to,
    )


def ranked(run: Run) -> ScoreTable:
    """What a finished run says of all paths."""
    return ScoreTable.read(run.folder / "ranking.csv")


def restricted(table: ScoreTable, archs: Sequence[str]) -> ScoreTable:
    """Some architectures of a table, in the order given."""
    position = {arch: i for i, arch in enumerate(table.archs)}
    order = [position[arch] for arch in archs]
    columns = {name: column[order] for name, column in table.columns.items()}
    return ScoreTable(table.path, tuple(archs), columns, tuple(table.lines[i] for i in order))


def numbered(folder: Path, kind: str) -> Iterator[tuple[int, ScoreTable]]:
    """The scores of a kind in their order."""
    for file in sorted(folder.glob(f"{kind}_*.csv")):
        yield int(re.findall(r"\d+", file.stem)[0]), ScoreTable.read(file)
