"""Maps of paths in two dimensions, and of the prototypes that stand for them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lightning_nas.plots import style

Floats = NDArray[np.float64]


class Projection:
    """The plane of largest variance of some vectors (principal component analysis).

    Args:
        vectors: Shape (n, d), both at least 2.

    Attributes:
        share: The share of the variance along the two axes, shape (2,).
    """

    def __init__(self, vectors: ArrayLike) -> None:
        rows = np.asarray(vectors, dtype=np.float64)
        self._mean = rows.mean(axis=0)
        _, spread, axes = np.linalg.svd(rows - self._mean, full_matrices=False)
        variance = np.square(spread)
        self.share: Floats = variance[:2] / (variance.sum() or 1)
        # A singular vector has no sign of its own: the largest of its numbers is positive.
        largest = np.abs(axes[:2]).argmax(axis=1)
        self._axes = axes[:2] * np.sign(axes[[0, 1], largest])[:, None]

    def __call__(self, vectors: ArrayLike) -> Floats:
        """Coordinates in the plane, shape (m, 2), of vectors of shape (m, d)."""
        coordinates: Floats = (np.asarray(vectors, dtype=np.float64) - self._mean) @ self._axes.T
        return coordinates

    def label(self, axes: Axes, title: str) -> None:
        """Names the axes of a map; both have the same scale."""
        names = [f"principal component {i + 1} ({100 * share:.0f} %)" for i, share in enumerate(self.share)]
        style.tidy(axes, title, *names)
        axes.set_aspect("equal", adjustable="datalim")


def unit_vectors(vectors: ArrayLike) -> Floats:
    """Vectors of shape (n, d) scaled to length 1, as the cosine distance sees them; zero ones stay."""
    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.where(lengths > 0, lengths, 1)
    return scaled


def gradient_map(gradients: ArrayLike, rank_error: ArrayLike, labels: Sequence[str] | None = None) -> Figure:
    """Gradients of paths in two dimensions, coloured by how much the supernet overrates or underrates them.

    After Fig. 1 of Javan Roshtkhari et al., "Debiased One-shot NAS via Density-aware Sampling": overrated paths lie
    where gradients are dense. Gradients are scaled to unit length, because directions are what is compared.

    Args:
        gradients: Of every path, zero where it does not use a weight, shape (n, weights).
        rank_error: Rank in the ground truth minus rank by score, shape (n,); positive is overrated.
        labels: Names of the paths; where given, the most overrated and the most underrated one are named.
    """
    vectors, error = unit_vectors(gradients), np.asarray(rank_error, dtype=np.float64)
    projection = Projection(vectors)
    points = projection(vectors)
    figure = style.new_figure(5.6, 4.6)
    axes = figure.subplots()
    largest = max(1.0, float(np.abs(error).max()))
    few = len(points) <= style.MAX_POINTS
    # Large errors last, so that small ones do not hide them.
    order = np.argsort(np.abs(error), kind="stable")
    dots = axes.scatter(
        points[order, 0],
        points[order, 1],
        c=error[order],
        cmap="RdBu_r",
        vmin=-largest,
        vmax=largest,
        s=44 if few else 10,
        edgecolors="0.3",
        linewidths=0.5 if few else 0.1,
    )
    projection.label(axes, f"gradients of {len(points)} architectures")
    if labels is not None:
        _name(axes, points[error.argmax()], f"most overrated:\n{labels[int(error.argmax())]}", above=True)
        _name(axes, points[error.argmin()], f"most underrated:\n{labels[int(error.argmin())]}", above=False)
    bar = figure.colorbar(dots, ax=axes, pad=0.02)
    bar.set_label("rank error: underrated < 0 < overrated", fontsize=style.LABEL_SIZE)
    bar.ax.tick_params(labelsize=style.TICK_SIZE)
    return figure


def _name(axes: Axes, point: Floats, text: str, above: bool) -> None:
    """Names a point at the upper or lower edge, on its side of the map, where the margin leaves room."""
    left, right = axes.dataLim.intervalx
    side = 0.02 if point[0] < (left + right) / 2 else 0.98
    axes.margins(0.12, 0.25)
    axes.annotate(
        text,
        (float(point[0]), float(point[1])),
        xytext=(side, 0.98 if above else 0.02),
        textcoords="axes fraction",
        ha="left" if side < 0.5 else "right",
        va="top" if above else "bottom",
        fontsize=style.TICK_SIZE,
        arrowprops={"arrowstyle": "->", "color": style.NEUTRAL, "shrinkB": 4},
    )


def prototype_map(representations: ArrayLike, prototypes: ArrayLike) -> Figure:
    """Representations of paths in two dimensions, with the prototypes that stand for them.

    Args:
        representations: Of a sample of paths, shape (n, d); their plane of largest variance is drawn.
        prototypes: In the same coordinates, shape (k, d).
    """
    projection = Projection(representations)
    points, centres = projection(representations), projection(prototypes)
    figure = style.new_figure(5, 4.4)
    axes = figure.subplots()
    few = len(points) <= style.MAX_POINTS
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=26 if few else 8,
        alpha=1 if few else 0.5,
        color=style.NAMED_COLOURS["density"],
        linewidths=0,
        label=f"{len(points)} architectures",
    )
    axes.scatter(
        centres[:, 0],
        centres[:, 1],
        s=42,
        marker="X",
        color="black",
        edgecolors="white",
        linewidths=0.7,
        label=f"{len(centres)} prototypes",
    )
    projection.label(axes, "representations and prototypes")
    figure.legend(loc="outside lower center", ncols=2, fontsize=style.TICK_SIZE, frameon=False)
    return figure


def prototype_spread(steps: Sequence[int], spread_by_name: Mapping[str, ArrayLike]) -> Figure:
    """Mean distance between prototypes in the course of a training: near 0 they have collapsed into one.

    Args:
        steps: Numbers of the steps, s of them.
        spread_by_name: For every run its mean distances, shape (s,).
    """
    figure = style.new_figure(6, 3.6)
    axes = figure.subplots()
    for name, colour in style.colours(spread_by_name).items():
        axes.plot(
            steps, np.asarray(spread_by_name[name], dtype=np.float64), color=colour, linewidth=1.4, label=name
        )
    style.tidy(axes, "spread of prototypes", "step", "mean distance between prototypes")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=style.TICK_SIZE, frameon=False)
    return figure
