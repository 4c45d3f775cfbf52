import math
from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.text import Annotation
from numpy.typing import NDArray
from scipy import stats

from lightning_nas.plots import ranking, style

RANDOM = np.random.default_rng(0)
LABELS = [f"{i}-{j}-1" for i in range(6) for j in range(6)]
N = len(LABELS)
TRUTH = RANDOM.uniform(75, 93, N)
DISTANCE = RANDOM.random(N)
SCORES = {
    "uniform": [RANDOM.uniform(40, 60, N) for _ in range(3)],
    "density": [TRUTH - 30 + RANDOM.normal(size=N) for _ in range(3)],
}
COUNTS = {"uniform": np.ones(N), "density": DISTANCE}


def points(axes: Axes) -> NDArray[np.float64]:
    (scatter,) = (artist for artist in axes.collections if isinstance(artist, PathCollection))
    return np.asarray(scatter.get_offsets())


def bars(axes: Axes) -> list[LineCollection]:
    return [artist for artist in axes.collections if isinstance(artist, LineCollection)]


def bands(axes: Axes) -> list[PolyCollection]:
    return [artist for artist in axes.collections if isinstance(artist, PolyCollection)]


def legend_texts(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def z_score(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(stats.zscore(values), dtype=np.float64)


def test_tau_text() -> None:
    # Concordant minus discordant of 6 pairs: 6 and 4.
    truth = np.array([1.0, 2, 3, 4])
    assert ranking.tau_text(np.array([truth]), truth) == "tau 1.00 (1 seed)"
    assert ranking.tau_text(np.array([truth, [1, 2, 4, 3]]), truth) == "tau .83 ± .24 (2 seeds)"
    assert ranking.tau_text(np.array([-truth, [4, 3, 1, 2]]), truth) == "tau -.83 ± .24 (2 seeds)"


def test_tau_text_of_unscored_and_constant_paths() -> None:
    truth = np.array([1.0, 2, 3])
    assert ranking.tau_text(np.array([[math.nan, 2, 3]]), truth) == "tau 1.00 (1 seed)"
    assert ranking.tau_text(np.ones((1, 3)), truth) == "tau nan (1 seed)"


def test_scatter_shows_means_over_seeds() -> None:
    panels = ranking.score_vs_ground_truth(TRUTH, SCORES).axes
    assert len(panels) == 2
    for axes, (name, scores) in zip(panels, SCORES.items(), strict=True):
        mean, std = np.mean(scores, axis=0), np.std(scores, axis=0, ddof=1)
        assert points(axes) == pytest.approx(np.column_stack([TRUTH, mean]))
        (bar,) = bars(axes)
        assert np.array(bar.get_segments())[:, :, 1] == pytest.approx(
            np.column_stack([mean - std, mean + std])
        )
        taus = [stats.kendalltau(seed, TRUTH).statistic for seed in scores]
        expected = f"{name}: tau {np.mean(taus):.2f} ± {np.std(taus, ddof=1):.2f} (3 seeds)"
        assert axes.get_title() == expected.replace("0.", ".")
        assert axes.get_xlabel() == "stand-alone accuracy (%)"
        assert not axes.texts
    assert panels[0].get_ylabel() == "supernet accuracy (%), mean ± std"
    assert panels[0].get_xlim() == panels[1].get_xlim()
    assert panels[0].get_ylim() == panels[1].get_ylim()


def test_scatter_colours_tell_samplers_apart() -> None:
    scores = dict.fromkeys(("uniform", "fair", "pada"), SCORES["uniform"])
    expected = style.colours(scores)
    for axes in ranking.score_vs_ground_truth(TRUTH, scores).axes:
        scatter = next(artist for artist in axes.collections if isinstance(artist, PathCollection))
        colour = np.asarray(scatter.get_facecolor())[0, :3]
        assert colour == pytest.approx(to_rgb(expected[axes.get_title().split(":")[0]]))
    assert len(set(expected.values())) == 3


def test_scatter_of_one_seed_or_many_paths_has_no_bars() -> None:
    assert not bars(ranking.score_vs_ground_truth(TRUTH, {"uniform": SCORES["uniform"][:1]}).axes[0])
    truth = RANDOM.random(61)
    axes = ranking.score_vs_ground_truth(truth, {"uniform": [truth, truth]}).axes[0]
    assert not bars(axes)
    assert len(points(axes)) == 61


def test_scatter_names_the_truly_best() -> None:
    best = int(TRUTH.argmax())
    axes = ranking.score_vs_ground_truth(TRUTH, SCORES, LABELS).axes[0]
    (text,) = axes.texts
    assert isinstance(text, Annotation)
    assert text.get_text() == f"best: {LABELS[best]}"
    assert text.xy == pytest.approx((TRUTH[best], np.mean(SCORES["uniform"], axis=0)[best]))


def test_standardised() -> None:
    values = np.array([[1.0, 2, 6], [0.1, 0.1, 0.1]])
    assert ranking.standardised(values) == pytest.approx(np.stack([z_score(values[0]), np.zeros(3)]))
    assert ranking.standardised([1, math.nan, 3]) == pytest.approx([-1, math.nan, 1], nan_ok=True)


def test_curves_by_density() -> None:
    order = np.argsort(-DISTANCE)
    (axes,) = ranking.sorted_by_density(DISTANCE, TRUTH, SCORES, LABELS).axes
    truth, *curves = axes.lines
    assert truth.get_ydata() == pytest.approx(z_score(TRUTH)[order])
    assert truth.get_color() == style.colours(["ground truth"])["ground truth"]
    for curve, band, scores in zip(curves, bands(axes), SCORES.values(), strict=True):
        seeds = np.array([z_score(seed)[order] for seed in scores])
        assert np.asarray(curve.get_xdata()).tolist() == list(range(N))
        assert curve.get_ydata() == pytest.approx(seeds.mean(axis=0))
        corners = {(x, round(y, 9)) for x, y in np.asarray(band.get_paths()[0].vertices)}
        edges = [
            (float(x), round(y, 9))
            for edge in (seeds.min(axis=0), seeds.max(axis=0))
            for x, y in enumerate(edge)
        ]
        assert corners.issuperset(edges)
    assert legend_texts(axes) == ["ground truth", "uniform", "density"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [LABELS[i] for i in order]
    assert axes.get_title() == "accuracy by density (bands span all seeds)"
    assert axes.get_ylabel() == "standardised accuracy\n(z-score)"


def test_curve_of_one_seed_has_no_band() -> None:
    axes = ranking.sorted_by_density(DISTANCE, TRUTH, {"uniform": SCORES["uniform"][0]}).axes[0]
    assert not bands(axes)
    assert len(axes.lines) == 2


def test_summary_puts_all_together() -> None:
    figure = ranking.summary(DISTANCE, TRUTH, SCORES, COUNTS, LABELS)
    uniform, density, curves, frequency = figure.axes
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == [
        "uniform",
        "density",
        "accuracy by density (bands span all seeds)",
        "sampling frequency",
    ]
    assert points(density)[:, 1] == pytest.approx(np.mean(SCORES["density"], axis=0))
    assert uniform.get_ylim() == density.get_ylim()
    assert len(curves.lines) == 3
    assert curves.get_xlim() == frequency.get_xlim()
    assert curves.get_ylabel()
    assert len(legend_texts(frequency)) == 3
    assert frequency.get_xticklabels()[0].get_text() == LABELS[int(DISTANCE.argmax())]
