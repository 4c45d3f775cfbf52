"""What a search found, over its evaluations and over cost."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from lightning_nas.plots import style

Points = Sequence[tuple[float, float]]
"""Cost and accuracy of networks."""

UNITS = {
    "params": (1e6, "million parameters"),
    "macs": (1e6, "million multiply-adds"),
    "latency": (1.0, "latency (ms)"),
}


def best_so_far(evaluations: ArrayLike, scores: ArrayLike, label: str = "score") -> Figure:
    """Every score in the order in which it was found, and the best up to then.

    Args:
        evaluations: Their numbers, ascending; shape (n,).
        scores: Shape (n,), higher is better.
        label: What a score is.
    """
    found = np.asarray(scores, dtype=np.float64)
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    axes.plot(evaluations, found, ".", color=style.NEUTRAL, markersize=3, alpha=0.5, label="scored")
    axes.step(
        evaluations,
        np.maximum.accumulate(found),
        where="post",
        color=style.NAMED_COLOURS["density"],
        label="best so far",
    )
    style.tidy(axes, "course of the search", "evaluation", label)
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure


def pareto(costs: ArrayLike, scores: ArrayLike, front: ArrayLike, cost: str, label: str = "score") -> Figure:
    """All networks that were scored, and the front of those that no other beats in score and cost.

    Args:
        costs: Shape (n,).
        scores: Shape (n,), higher is better.
        front: Indices of the front, from the cheapest network on.
        cost: Which cost it is: ``params``, ``macs``, ``latency``, or the name of another number.
        label: What a score is.
    """
    figure, axes, unit = _cost_axes(cost, "scores over cost", label)
    x, y, best = np.asarray(costs, dtype=np.float64) / unit, np.asarray(scores), np.asarray(front)
    axes.plot(x, y, ".", color=style.NEUTRAL, markersize=3, alpha=0.5, label="scored")
    _draw_front(axes, x[best], y[best], style.NAMED_COLOURS["density"], "front of the scores")
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure


def pareto_against_truth(scored: Points, front: Points, true_front: Points, cost: str) -> Figure:
    """How accurate the networks really are that a search scored, beside the best that the space has.

    Args:
        scored: Cost and true accuracy of the networks that were scored.
        front: Of those on the front of the scores.
        true_front: Of those on the front of the ground truth of the whole space.
        cost: Which cost it is: ``params``, ``macs``, ``latency``, or the name of another number.
    """
    figure, axes, unit = _cost_axes(cost, "what the search found, by its true accuracy", "true accuracy (%)")
    groups = [np.array(points, dtype=np.float64) / (unit, 1) for points in (scored, front, true_front)]
    axes.plot(*groups[0].T, ".", color=style.NEUTRAL, markersize=3, alpha=0.5, label="scored")
    x, y = groups[2].T
    _draw_front(axes, x, y, style.NAMED_COLOURS[style.GROUND_TRUTH], "front of the ground truth")
    axes.plot(
        *groups[1].T, "o", color=style.NAMED_COLOURS["density"], markersize=5, label="front of the scores"
    )
    # A few networks that learned nothing would squeeze all others into a line.
    low = min(np.quantile(groups[0][:, 1], 0.02), groups[1][:, 1].min())
    high = groups[2][:, 1].max()
    axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))
    axes.legend(fontsize=style.TICK_SIZE, frameon=False, loc="lower right")
    return figure


def _cost_axes(cost: str, title: str, label: str) -> tuple[Figure, Axes, float]:
    unit, name = UNITS.get(cost, (1.0, cost))
    figure = style.new_figure(6, 4)
    axes = figure.subplots()
    style.tidy(axes, title, name, label)
    return figure, axes, unit


def _draw_front(axes: Axes, x: ArrayLike, y: ArrayLike, colour: str, label: str) -> None:
    axes.step(x, y, ".-", where="post", color=colour, linewidth=1.2, label=label)


def regret_over_evaluations(courses: Mapping[str, ArrayLike]) -> Figure:
    """How far the path that leads a search is from the best there is.

    Args:
        courses: For every search, regrets in points of accuracy, shape (seeds, evaluations); the mean is drawn, and the
            range of the seeds.
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    for name, colour in style.colours(courses).items():
        regrets = np.asarray(courses[name], dtype=np.float64)
        evaluations = np.arange(1, regrets.shape[1] + 1)
        axes.plot(evaluations, regrets.mean(axis=0), color=colour, linewidth=1.4, label=name)
        axes.fill_between(
            evaluations, regrets.min(axis=0), regrets.max(axis=0), color=colour, alpha=0.15, linewidth=0
        )
    style.tidy(axes, "the leading path, by its true accuracy", "evaluation", "regret (points)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure
