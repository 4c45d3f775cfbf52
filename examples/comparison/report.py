"""What came out of a comparison: tables and a figure."""

import json
import math
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from scipy import stats

from examples.comparison.comparison import Comparison, Results
from examples.comparison.plan import Plan, said
from examples.comparison.runs import ranked
from examples.comparison.tables import markdown, number, spread, table_of
from lightning_nas import plots
from lightning_nas.files import written_whole
from lightning_nas.ranking import kendall_tau


class Criterion(NamedTuple):
    """A column of the table: its name, its key in the file of a run, and how numbers are written."""

    name: str
    key: str
    form: str


QUALITY = (
    Criterion("tau", "kendall_tau", "+.3f"),
    Criterion("P@top5", "p_at_top_5", ".2f"),
    Criterion("top-1", "top1_ground_truth", ".2f"),
    Criterion("top-5", "top5_ground_truth", ".2f"),
    Criterion("top-10", "top10_ground_truth", ".2f"),
)
REASONS_AND_COSTS = (
    Criterion("density bias", "density_bias", "+.2f"),
    Criterion("CB", "complexity_bias", ".2f"),
    Criterion("ESS", "effective_sample_size", ".1f"),
    Criterion("GV", "gradient_variance", ".2e"),
    Criterion("CPU s", "cpu_seconds", ".0f"),
    Criterion("peak MB", "peak_megabytes", ".0f"),
)
CRITERIA = QUALITY + REASONS_AND_COSTS


def report(comparison: Comparison, console: Console) -> None:
    """Prints the tables of what is finished, writes ``results.csv`` and ``results.md``, and draws the figure."""
    plan, out = comparison.plan, comparison.out
    finished = {name: found for name in plan.methods if (found := comparison.reported(name))}
    if not finished:
        console.print("Nothing is finished yet.")
        return
    rows = [row_of(comparison, name, found) for name, found in finished.items()]
    grid = tried_settings(comparison)
    counts = taus_of_counts(comparison, next(iter(finished)))
    # Two tables, because one is too wide for a terminal.
    reasons = [criterion.name for criterion in REASONS_AND_COSTS]
    quality = [name for name in rows[0] if name not in reasons]
    console.print(table_of(plan.title, rows, quality))
    console.print(table_of("Reasons and costs", rows, ["method", *reasons]))
    if grid:
        console.print(table_of(f"Settings tried on seed {plan.choice_seed}", grid, list(grid[0])))
    text = caption(plan, counts)
    console.print(text, highlight=False)
    parts = [f"## {plan.title}", text, markdown(rows), *([markdown(grid)] if grid else [])]
    with written_whole(out / "results.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")
    plots.save_table(out / "results.csv", columns_of(finished))
    taus = {name: values(found, "kendall_tau") for name, found in finished.items()}
    plots.save(plots.tau_of_methods(taus, counts), out / "tau_of_methods.png")


def row_of(comparison: Comparison, name: str, found: Results) -> dict[str, str]:
    """What is said about a method, by the names of the columns."""
    setting, baseline = comparison.chosen(name), comparison.plan.baseline
    return {
        "method": name + (f" ({said(setting)})" if setting else ""),
        "seeds": str(len(found)),
        **{criterion.name: spread(values(found, criterion.key), criterion.form) for criterion in CRITERIA},
        f"tau - {baseline}": difference(found, comparison.reported(baseline)),
    }


def tried_settings(comparison: Comparison) -> list[dict[str, str]]:
    """Every setting that was tried."""
    return [
        {
            "method": name,
            "setting": said(run.setting),
            "tau": number(result["kendall_tau"], "+.3f"),
            "ESS": number(result["effective_sample_size"], ".1f"),
            "chosen": "yes" if run.setting == comparison.chosen(name) else "",
        }
        for name in comparison.plan.methods
        for run in comparison.tried(name)
        if (result := run.result())
    ]


def taus_of_counts(comparison: Comparison, name: str) -> dict[str, float]:
    """What parameters and multiply-adds rank without any training; nothing where all are equal."""
    run = comparison.run(name, comparison.chosen(name) or {}, next(iter(comparison.reported(name))))
    truth, counts = ranked(run, "ground_truth"), {key: ranked(run, key) for key in ("params", "macs")}
    return {key: kendall_tau(values, truth) for key, values in counts.items() if len(set(values)) > 1}


def caption(plan: Plan, counts: dict[str, float]) -> str:
    """What the columns are."""
    untrained = ", ".join(f"{name} {tau:+.3f}" for name, tau in counts.items())
    return (
        f"{plan.images:,} images forward and backward per run, whatever the method. Mean ± standard "
        f"deviation over seeds. A method with a grid has the setting of the highest tau on seed "
        f"{plan.choice_seed}, which is not reported. tau - {plan.baseline}: mean paired difference ± half of its "
        f"95 % confidence interval. Kendall tau without training: {untrained}. top-k: mean true accuracy of the k paths "
        f"ranked first. CB: complexity bias by {plan.complexity}, .5 is none. ESS: effective sample size of "
        "the paths trained, warm-up included. GV: gradient variance of the last epoch; n/a where no choice has "
        "weights of its own. CPU s: processor time of the training, with one thread. Peak MB: resident memory of the "
        "process, libraries included."
    )


def values(found: Results, key: str) -> list[float]:
    """A criterion of several runs; NaN where one has none."""
    return [math.nan if (value := result[key]) is None else float(value) for result in found.values()]


def columns_of(finished: dict[str, Results]) -> dict[str, list[Any]]:
    """The criteria of every run that is reported, a row each."""
    results = [result for found in finished.values() for result in found.values()]
    columns = {key: [result[key] for result in results] for key in ("method", "seed")}
    columns["setting"] = [json.dumps(result["setting"]) for result in results]
    return columns | {c.key: [result[c.key] for result in results] for c in CRITERIA}


def difference(found: Results, baseline: Results) -> str:
    """Mean difference of the taus over the seeds of both, and half of its 95 % confidence interval."""
    both = [seed for seed in found if seed in baseline]
    taus, others = (
        values({seed: results[seed] for seed in both}, "kendall_tau") for results in (found, baseline)
    )
    gaps = np.array(taus) - np.array(others)
    if len(gaps) < 2 or not gaps.any():
        return ""
    half = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps))
    return f"{gaps.mean():+.3f} ± {half:.3f}"
