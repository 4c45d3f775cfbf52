"""``lightning-nas estimate``: what can be told of networks without training them."""

import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from lightning_nas import checkpoint, plots, provenance
from lightning_nas.architecture import sketch
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError, require_at_least
from lightning_nas.evaluation import PartialScores, select_paths
from lightning_nas.evaluation.selection import PathSelection
from lightning_nas.files import require_writable, written_whole
from lightning_nas.latency import Device
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.ranking.mutation import MutationBias
from lightning_nas.ranking.report import plain_report
from lightning_nas.ranking.table import ScoreTable
from lightning_nas.spaces import ListedSpace, SearchSpace
from lightning_nas.spaces import Path as Architecture
from lightning_nas.zeroshot import Estimator, vote
from lightning_nas.zeroshot.estimates import Estimates
from lightning_nas.zeroshot.estimation import Images, Inherited, Source, Untrained, estimate_paths

Floats = NDArray[np.float64]

SIZES = ("num_classes", "in_channels", "image_size")
EXPERTS = ("synflow", "jacob_cov", "snip")
BEST = 3
PRINTED = {
    "kendall_tau": "tau",
    "spearman": "Spearman",
    "p_at_top_5": "P@top5",
    "p_at_bottom_5": "P@bot5",
    "br_at_5": "BR@5",
    "complexity_bias": "bias",
    "unscored": "n/a",
}
COLUMNS = ("arch", "ground_truth", "ground truth", "vote", "params", "macs", "degenerate")
MAX_CHOICES = 12  # more cannot be read in a figure


def estimate(
    *,
    estimators: list[Estimator],
    space: SearchSpace | None = None,
    ckpt_path: Path | None = None,
    data: ImageDataModule | None = None,
    paths: PathSelection = 100,
    images: int = 64,
    batches: int = 1,
    seeds: list[int] = [0],  # noqa: B006  (read only, and the parser shows it)
    experts: list[str] | None = None,
    benchmark: Path | None = None,
    dataset: str | None = None,
    ranking: Path | None = None,
    workers: int = 1,
    device: Device = "cpu",
    selection_seed: int = 0,
    out: Path = Path("runs/estimate"),
) -> None:
    """Score architectures by estimators that need no training, and compare the scores.

    Parameters and multiply-adds stand beside every estimator, because few beat them. OUT gets estimates.csv, where the
    column degenerate names what could not be told of an architecture, figures, and with ground truth estimates.json with
    every criterion of every score. Interrupted, the same command continues.

    Args:
        estimators: Titles with commas between them, such as synflow,jacob_cov; all; class paths of your own; or a list of
            YAML with options, such as '[{class_path: Fisher, init_args: {broadcast: true}}]'.
        space: The search space, such as NASBench201; its arguments as --space.channels and so on.
        ckpt_path: A checkpoint of a supernet, whose weights the networks get instead of initial ones; it knows its space.
        data: The dataset whose images the networks are shown, such as DigitsDataModule, or NoiseDataModule for none;
            ``-c`` takes it from a config.
        paths: all, classes (one of every isomorphism class), a number of random ones, or a file that names them.
        images: Training images of a batch.
        batches: Batches, over which scores are averaged.
        seeds: Of the initial weights, over which scores are averaged.
        experts: Names of the estimators that vote; None takes synflow, jacob_cov and snip, where all of them are asked.
        benchmark: A table of ground truth (CSV).
        dataset: Column of the table; None takes the only one.
        ranking: The ranking.csv of a supernet that scored the same architectures, to be compared with.
        workers: Processes.
        device: Where the networks run: cpu, or cuda with one process.
        selection_seed: Of the choice of random paths.
        out: Folder for the results.

    Raises:
        NASError: Something is given that does not fit the rest, or an estimator cannot look at these networks.
    """
    _require_numbers(seeds, selection_seed, ckpt_path, workers=workers, images=images, batches=batches)
    _require_device(device, workers)
    _require_estimators(estimators, data, images)
    _require_free(out)
    voters = _voters([estimator.name for estimator in estimators], experts)
    space, source = _source(space, ckpt_path, data)
    archs = select_paths(space, paths, selection_seed, key="paths")
    truth = None if benchmark is None else _truth(TabularBenchmark.read(benchmark), space, dataset, archs)
    supernet = {} if ranking is None else _one_shot(ScoreTable.read(ranking), space, archs)
    shown = [] if data is None else _batches(data, images, batches)
    fingerprint = _digest(*(array for batch in shown for array in batch))
    settings = {
        "estimators": [estimator.name for estimator in estimators],
        "space": space.describe(),
        "ckpt_path": None if ckpt_path is None else str(ckpt_path),
        "weights": source.weights if isinstance(source, Inherited) else "initial",
        "data": None if data is None else f"{data.name}, images {fingerprint}",
        "paths": f"{len(archs)} paths {_digest(np.array(archs))}",
        "images": images,
        "batches": batches,
        "seeds": list(seeds),
        "device": device,
    }
    require_writable(out, out)
    record = PartialScores(out / "estimates.partial", settings)
    try:
        with tqdm(total=len(archs), desc="estimate", unit="path", disable=not estimators) as bar:
            found = estimate_paths(
                estimators,
                source,
                archs,
                shown,
                seeds,
                workers,
                device,
                record,
                show=lambda done: bar.update(done - bar.n) and None,
            )
    except KeyboardInterrupt:
        sys.exit(f"Interrupted: what is estimated stands in {record.path}; the same command continues")
    told = {estimator.name: column for estimator, column in zip(estimators, found.T, strict=True)}
    if voters:
        told["vote"] = vote([told[name] for name in voters])
    result = Estimates(space, archs, told | _costs(space, archs) | supernet, truth)
    _write(result, settings, out)
    provenance.record(out, "estimate", device, workers)
    record.remove()


# --------------------------------------------------------------------------------------- what is looked at


def _require_numbers(
    seeds: Sequence[int], selection_seed: int, ckpt_path: Path | None, **counts: int
) -> None:
    require_at_least(1, **counts)
    require_at_least(0, selection_seed=selection_seed)
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise NASError(f"seeds is {list(seeds)}: valid is at least one number from 0, each once")
    if ckpt_path is not None and len(seeds) > 1:
        raise NASError(f"seeds is {list(seeds)}, but ckpt_path gives the weights: give one seed")


def _require_device(device: Device, workers: int) -> None:
    if device == "cuda" and workers > 1:
        raise NASError(f"workers is {workers}, but device is cuda: valid is 1")
    if device == "cuda" and not torch.cuda.is_available():
        raise NASError("device is cuda, but PyTorch finds no GPU here: valid is cpu")


def _require_estimators(estimators: Sequence[Estimator], data: ImageDataModule | None, images: int) -> None:
    names = [estimator.name for estimator in estimators]
    for name, following in pairwise(sorted(names)):
        if name == following:
            raise NASError(f"estimators has {name} twice")
    for estimator in estimators:
        if estimator.name in COLUMNS:
            raise NASError(
                f"estimators has one titled {estimator.name}, as another column is: give it another title"
            )
        estimator.require_images(images)
    if estimators and data is None:
        raise NASError(
            f"data is not given, but {names[0]} looks at images: give a dataset such as DigitsDataModule, or "
            "NoiseDataModule for images without content"
        )


def _require_free(out: Path) -> None:
    if (out / "estimates.csv").exists():
        raise NASError(
            f"out is {str(out)!r}, which holds estimates.csv: choose another, or remove it to estimate anew"
        )


def _voters(names: Sequence[str], experts: Sequence[str] | None) -> list[str]:
    """Who votes; nobody, where not all are asked whom Abdelfattah et al. let vote."""
    if experts is None:
        return list(EXPERTS) if set(EXPERTS) <= set(names) else []
    for expert in experts:
        if expert not in names:
            raise NASError(f"experts has {expert!r}, but estimators are {', '.join(names)}")
    return list(experts)


def _source(
    space: SearchSpace | None, ckpt_path: Path | None, data: ImageDataModule | None
) -> tuple[SearchSpace, Source]:
    facts = {} if data is None else {name: getattr(data, name) for name in SIZES}
    if ckpt_path is None:
        if space is None:
            raise NASError(
                "space is not given: give one such as NASBench201, or a ckpt_path, which knows its own"
            )
        return (space := space.adapt(**facts)), Untrained(space)
    trained = checkpoint.facts(ckpt_path)
    if trained.arch is not None:
        raise NASError(
            f"ckpt_path {str(ckpt_path)!r} holds the network of {trained.arch} alone, not a supernet"
        )
    if space is not None:
        raise NASError("space is given, but so is ckpt_path, which knows its own: give one")
    for name, given in facts.items():
        if given != (wanted := getattr(trained.space, name)):
            raise NASError(f"data has {name} {given}, but the checkpoint was trained with {name} {wanted}")
    if trained.classes is not None and data is not None and data.classes is not None:
        checkpoint.require_classes(trained.classes, data.classes)
    return trained.space, Inherited.of(ckpt_path)


def _batches(data: ImageDataModule, images: int, batches: int) -> list[Images]:
    data.prepare_data()
    x, y = data.training_images(images * batches)
    if len(x) < images * batches:
        raise NASError(
            f"images is {images} and batches is {batches}, but {data.name} has only {len(x)} training images"
        )
    return list(zip(map(np.asarray, x.split(images)), map(np.asarray, y.split(images)), strict=True))


def _digest(*arrays: NDArray[Any]) -> str:
    """A fingerprint of numbers: 16 hexadecimal digits."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def _truth(
    benchmark: TabularBenchmark, space: SearchSpace, dataset: str | None, paths: Sequence[Architecture]
) -> Floats:
    # Of these paths alone: a table that lacks others will do.
    known = benchmark.truth(ListedSpace(space, tuple(paths)), dataset)
    for path in paths:
        if path not in known:
            raise NASError(
                f"{benchmark.path} does not have the architecture {space.encode(path)!r}: give it as paths, too, to take "
                "its architectures"
            )
    return np.array([known[path] for path in paths])


def _one_shot(table: ScoreTable, space: SearchSpace, paths: Sequence[Architecture]) -> dict[str, Floats]:
    """Accuracy and minus the loss of a supernet."""
    position = {arch: i for i, arch in enumerate(table.archs)}
    archs = [space.encode(path) for path in paths]
    for arch in archs:
        if arch not in position:
            raise NASError(
                f"{table.path} does not score {arch!r}: give it as paths, too, to take its architectures"
            )
    rows = [position[arch] for arch in archs]
    found = {"one-shot accuracy": table.columns["accuracy"][rows]}
    if "loss" in table.columns:
        found["one-shot -loss"] = -table.columns["loss"][rows]
    return found


def _costs(space: SearchSpace, paths: Sequence[Architecture]) -> dict[str, Floats]:
    costs = [space.cost(path) for path in paths]
    return {
        name: np.array([getattr(cost, name) for cost in costs], dtype=np.float64)
        for name in ("params", "macs")
    }


# ----------------------------------------------------------------------------------------------- the output


def _write(result: Estimates, settings: Mapping[str, Any], out: Path) -> None:
    criteria = result.criteria()
    biases = result.biases()
    if criteria:
        content = {"settings": settings, **plain_report(criteria, biases)}
        with written_whole(out / "estimates.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")
    for name, figure in _figures(result, biases).items():
        plots.save(figure, out / f"{name}.png")
    result.write(out / "estimates.csv")  # last, because it says that nothing is left to be done
    console = Console()
    console.print(_table(result, criteria))
    console.print(
        f"estimates.csv and figures of {len(result.paths)} architectures are in {out}", soft_wrap=True
    )


def _table(result: Estimates, criteria: Mapping[str, Mapping[str, float]]) -> Table:
    """A line for every score."""
    if not criteria:
        table = Table("estimator", "degenerate", title=f"{len(result.paths)} architectures, no ground truth")
        for name, column in result.finite.items():
            table.add_row(name, f"{np.isnan(column).sum()}")
        return table
    table = Table(title=f"{len(result.paths)} architectures against their ground truth")
    table.add_column("estimator", overflow="fold")
    for title in PRINTED.values():
        table.add_column(title, justify="right", no_wrap=True, min_width=6)
    for name, found in criteria.items():
        table.add_row(name, *(_number(found.get(criterion, math.nan)) for criterion in PRINTED))
    return table


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return str(value) if isinstance(value, int) else f"{value:z.3f}"


def _figures(result: Estimates, biases: Mapping[str, MutationBias]) -> dict[str, Figure]:
    space, names = result.space, result.space.choice_names
    figures = {
        "taus": plots.tau_matrix(*result.taus()),
        "histograms": plots.score_histograms(result.finite, result.truth),
        "best": _best(result),
    }
    if max(space.num_choices) <= MAX_CHOICES:
        choices = names[0] if len(set(names)) == 1 and names[0] else range(max(space.num_choices))
        decisions = [f"decision {number}" for number in range(len(space.num_choices))]
        figures["choices"] = plots.score_by_choice(
            result.ranks_by_choice(), decisions, list(map(str, choices))
        )
    if (differences := result.rank_differences()) is not None:
        figures["rank_differences"] = plots.rank_difference_table(*differences, "million parameters")
    for name, bias in biases.items():
        if len(bias.names) <= MAX_CHOICES:
            figures[f"mutations_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}"] = (
                plots.operation_bias(bias.names, bias.truth_increase, bias.score_increase, bias.bias, name)
            )
    return figures


def _best(result: Estimates) -> Figure:
    best = {name: first for name, first in result.best(BEST).items() if first}
    truth = np.full(len(result.paths), np.nan) if result.truth is None else result.truth
    return plots.best_architectures(
        {name: [sketch(result.space, result.paths[i]) for i in first] for name, first in best.items()},
        {name: truth[first].tolist() for name, first in best.items()},
    )
