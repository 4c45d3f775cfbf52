"""What came out of a dissection: two tables and a figure."""

import csv
from collections import defaultdict

import numpy as np
from rich.console import Console

from examples.comparison.runs import Run, ranked
from examples.comparison.tables import markdown, spread, table_of
from examples.dissection.answers import Answer, answers
from examples.dissection.dissection import Dissection
from lightning_nas import plots
from lightning_nas.files import written_whole
from lightning_nas.ranking import kendall_tau

Rows = list[dict[str, str]]
# Of the base during its training, by their names in metrics.csv.
WATCHED = {
    "forgetting, points": ("forgetting/mean", "+.2f"),
    "gradient similarity": ("gradient/similarity", "+.3f"),
    "log10 of the NTK's condition": ("trainability/log10_condition_number", ".2f"),
}


def report(found: Dissection, console: Console) -> None:
    """Prints the tables, writes ``results.csv`` and ``results.md``, and draws the figure."""
    rows, out = answers(found), found.out
    grouped = defaultdict[tuple[str, str], list[Answer]](list)
    for row in rows:
        grouped[row.question, row.case].append(row)
    table = [row_of(group) for group in grouped.values()]
    watched = watched_epochs([found.base(seed) for seed in found.plan.seeds])
    counts = taus_of_counts(found.base(found.plan.seeds[0]))
    text = caption(found, counts)
    console.print(table_of(found.plan.title, table, list(table[0])))
    if watched:
        console.print(table_of("The base while it was trained", watched, list(watched[0])))
    console.print(text, highlight=False)
    parts = [
        f"## {found.plan.title}",
        text,
        markdown(table),
        "While the base was trained:",
        markdown(watched),
    ]
    with written_whole(out / "results.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")
    plots.save_table(out / "results.csv", dict(zip(Answer._fields, zip(*rows, strict=True), strict=True)))
    taus = {": ".join(names): [row.tau for row in group] for names, group in grouped.items()}
    plots.save(plots.tau_of_methods(taus, counts), out / "taus.png")


def row_of(group: list[Answer]) -> dict[str, str]:
    """A case over its seeds."""
    return {
        "question": group[0].question,
        "case": group[0].case,
        "paths": spread_of(group, "paths", ".0f"),
        "accuracy": spread_of(group, "accuracy", ".1f"),
        "tau": spread_of(group, "tau", "+.3f"),
        "tau of loss": spread_of(group, "tau_of_loss", "+.3f"),
        "top-10": spread_of(group, "top10", ".2f"),
        "tau to": spread_of(group, "tau_to", "+.3f").replace("n/a", ""),
    }


def spread_of(group: list[Answer], name: str, form: str) -> str:
    """Mean and standard deviation; of what all seeds have in common the value alone."""
    values = [float(getattr(answer, name)) for answer in group]
    return spread(values[:1] if len(set(values)) == 1 else values, form)


def watched_epochs(runs: list[Run]) -> Rows:
    """What the callbacks of the base logged, a row for every epoch."""
    found: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in WATCHED}
    for run in runs:
        with (run.folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for name, (metric, _) in WATCHED.items():
            values = [float(row[metric]) for row in rows if row.get(metric)]
            for epoch, value in enumerate(values, start=1):
                found[name][epoch].append(value)
    epochs = sorted({epoch for values in found.values() for epoch in values})
    return [
        {"epoch": str(epoch)}
        | {name: spread(found[name][epoch] or [np.nan], form) for name, (_, form) in WATCHED.items()}
        for epoch in epochs
    ]


def taus_of_counts(base: Run) -> dict[str, float]:
    """What parameters and multiply-adds rank without any training."""
    truth = ranked(base, "ground_truth")
    return {key: kendall_tau(ranked(base, key), truth) for key in ("params", "macs")}


def caption(found: Dissection, counts: dict[str, float]) -> str:
    """What the columns are."""
    plan = found.plan
    untrained = ", ".join(f"{name} {tau:+.3f}" for name, tau in counts.items())
    return (
        f"Every supernet is trained on {plan.images:,} images; the best paths, and to compare with them all that are scored, "
        f"go on for {plan.continued_images:,} more from the weights of the base. {len(plan.seeds)} seeds, mean ± standard deviation. accuracy: mean of the paths in "
        "the supernet, in percent. tau: of accuracies with the ground truth; tau of loss: of the losses. top-10: mean true "
        "accuracy of the ten paths ranked first. tau to: of accuracies with those of the base, of the base with those of the "
        "next seed, of what is trained on with those before, of batches with all of them, of an epoch with the next one "
        f"scored. Kendall tau without training: {untrained}."
    )
