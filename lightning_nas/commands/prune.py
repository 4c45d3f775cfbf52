"""``lightning-nas prune``: the part of a space that a supernet ranks best, as a config to train."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lightning_nas import checkpoint
from lightning_nas.errors import NASError
from lightning_nas.evaluation import select_paths
from lightning_nas.files import written_whole
from lightning_nas.ranking import ScoreTable, kendall_tau
from lightning_nas.ranking.metrics import Floats, count_of, ranking
from lightning_nas.spaces import ListedSpace, RestrictedSpace, SearchSpace
from lightning_nas.spaces import Path as Architecture


def prune(
    run: Path,
    *,
    out: Path,
    keep: float | None = None,
    drop: int | list[str] | None = None,
    by: Literal["accuracy", "loss"] = "accuracy",
    inherit: bool = False,
) -> None:
    """Write the part of a space that a trained supernet ranks best, as a config for fit.

    After Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures (NeurIPS 2021, Sec. 6.2). Give
    the config behind that of the run, with a trainer.default_root_dir of its own.

    Args:
        run: A run directory with last.ckpt, and with the ranking.csv that validate wrote.
        out: The config to write, .yaml. The architectures that are kept stand beside it, in .txt.
        keep: One-shot pruning: how many percent of the scored paths are kept, those of the best scores.
        drop: Operation pruning: how many operations are dropped, those of the lowest mean score over the paths and
            decisions that choose them; or which ones, by name, such as those that rank with --space finds overrated. A
            decision without others keeps them.
        by: The score, accuracy or loss.
        inherit: Have the training begin with the weights of the run, not with fresh ones.

    Raises:
        NASError: Not exactly one of keep and drop is given, a file is missing or wrong, or nothing would be left.
    """
    if (keep is None) == (drop is None):
        raise NASError("keep (percent of the paths) or drop (operations) is needed, and only one of them")
    if keep is not None and not 0 < keep <= 100:
        raise NASError(f"keep is {keep}: valid are percentages of the paths above 0 and up to 100")
    if out.suffix != ".yaml":
        raise NASError(f"out is {str(out)!r}: valid are names that end in .yaml")
    table = ScoreTable.read(run / "ranking.csv")
    if by not in table.columns:
        raise NASError(f"by is {by!r}, but {table.path} has no such column")
    scores = table.columns[by] * (-1 if by == "loss" else 1)
    if np.isnan(scores).all():
        raise NASError(f"by is {by!r}, but {table.path} has only nan in that column")
    space = checkpoint.facts(run / "last.ckpt").space
    paths = select_paths(space, str(table.path))
    console = Console()
    part: ListedSpace | RestrictedSpace
    if keep is not None:
        best = sorted(ranking(_with_worst(scores))[: count_of(keep, len(paths))].tolist())
        part = ListedSpace(space, tuple(paths[i] for i in best))
    else:
        assert drop is not None
        means = operation_scores(space, paths, scores)
        dropped = _named(drop, means)
        part = RestrictedSpace(space, _without(space, dropped))
        console.print(_operations(means, dropped, by))
    kept = np.array([part.is_valid(path) for path in paths])
    console.print(_summary(table, scores, kept, by))
    _write(out, part, run, inherit)
    console.print(f"{out}: {part.size:,} of {space.size:,} paths", soft_wrap=True)


def operation_scores(space: SearchSpace, paths: Sequence[Architecture], scores: Floats) -> dict[str, float]:
    """The mean score over the paths and decisions that choose an operation, for every operation that some choose.

    Args:
        space: Whose choices are operations.
        paths: P of them.
        scores: Shape (P,), higher is better; NaN is left out.

    Raises:
        NASError: The choices of the space are no operations.
    """
    found: dict[str, list[float]] = {}
    for decision, names in enumerate(space.choice_names):
        for path, score in zip(paths, scores.tolist(), strict=True):
            if names is not None and len(space.choices[decision]) > 1 and not np.isnan(score):
                found.setdefault(names[path[decision]], []).append(score)
    if not found:
        raise NASError(
            f"drop is for spaces of operations, but {type(space.whole).__name__} has none: give keep"
        )
    return {name: float(np.mean(values)) for name, values in found.items()}


def _named(drop: int | list[str], means: Mapping[str, float]) -> list[str]:
    if isinstance(drop, int):
        if not 1 <= drop < len(means):
            raise NASError(
                f"drop is {drop}: valid are 1 to {len(means) - 1} of the operations {', '.join(means)}"
            )
        return sorted(means, key=lambda name: means[name])[:drop]
    if unknown := [name for name in drop if name not in means]:
        raise NASError(f"drop has {unknown[0]!r}: valid are {', '.join(means)}")
    if not means.keys() - drop:
        raise NASError(f"drop is {', '.join(drop)}, which are all operations: valid is to leave one")
    return drop


def _without(space: SearchSpace, dropped: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The choices that are left at every decision: where there are no others, those that are dropped elsewhere."""
    return tuple(
        tuple(choice for choice in choices if names is None or names[choice] not in dropped) or choices
        for choices, names in zip(space.choices, space.choice_names, strict=True)
    )


def _with_worst(scores: Floats) -> Floats:
    """A path that could not be scored is the worst."""
    return np.where(np.isnan(scores), -np.inf, scores)


def _operations(means: Mapping[str, float], dropped: Sequence[str], by: str) -> Table:
    table = Table("operation", title="Operations by their mean score")
    table.add_column(by, justify="right")
    table.add_column("")
    for name in sorted(means, key=lambda name: -means[name]):
        table.add_row(name, f"{abs(means[name]):.3f}", "dropped" if name in dropped else "")
    return table


def _summary(table: ScoreTable, scores: Floats, kept: NDArray[np.bool_], by: str) -> Table:
    """What is scored before and after: mean score, and against the ground truth of the table where it has one."""
    truth = table.columns.get("ground_truth")
    summary = Table("scored paths", title=str(table.path))
    for name in ("number", f"mean {by}", *(("mean ground truth", "tau") if truth is not None else ())):
        summary.add_column(name, justify="right")
    for name, some in (("all", np.ones_like(kept)), ("kept", kept)):
        if not some.any():
            continue  # what is left was not among the paths that were scored
        numbers = [f"{some.sum():,}", f"{np.nanmean(np.abs(scores[some])):.3f}"]
        if truth is not None:
            numbers += [f"{truth[some].mean():.2f}", f"{kendall_tau(scores[some], truth[some]):+.3f}"]
        summary.add_row(name, *numbers)
    return summary


def _write(out: Path, part: ListedSpace | RestrictedSpace, run: Path, inherit: bool) -> None:
    description = part.describe()
    if isinstance(part, ListedSpace):
        archs = out.with_suffix(".txt")
        with written_whole(archs) as temporary:
            temporary.write_text("".join(f"{part.encode(path)}\n" for path in part))
        description["init_args"]["paths"] = str(archs)
    config: dict[str, Any] = {"model": {"space": description}}
    if inherit:
        weights = {"supernet": str(run / "last.ckpt")}
        callback = {"class_path": "lightning_nas.callbacks.InheritedWeights", "init_args": weights}
        config["trainer"] = {"callbacks+": [callback]}
    with written_whole(out) as temporary:
        temporary.write_text(yaml.safe_dump(config, sort_keys=False))
