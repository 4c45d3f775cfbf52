import numpy as np
import pytest
from matplotlib.collections import PathCollection, QuadMesh
from scipy import stats

from lightning_nas.plots import density

RNG = np.random.default_rng(0)
DISTANCE = np.array([0.5, 0.25, 0.1, 0.2])


def histogram(figure: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Percent of every cell, shape (bins, epochs); empty ones 0."""
    (mesh,) = [part for part in figure.axes[0].collections if isinstance(part, QuadMesh)]  # type: ignore[attr-defined]
    return np.nan_to_num(np.ma.filled(np.ma.asarray(mesh.get_array(), dtype=np.float64), 0))


def test_density_is_the_inverse_distance_and_bounded() -> None:
    assert density.densities([[0.5, 0.25], [0.0, 1.0]]).tolist() == [[2, 4], [1e6, 1]]


def test_every_epoch_has_its_histogram() -> None:
    distance = np.array([[0.5, 0.5, 0.25, 0.25], [0.5, 0.125, 0.125, 0.125]])
    figure = density.density_over_epochs([0, 10], distance, bins=3)
    shares = histogram(figure)
    assert shares.tolist() == [[50, 25], [50, 0], [0, 75]]
    (median,) = figure.axes[0].lines
    assert np.asarray(median.get_ydata()).tolist() == [2, 8]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0", "10"]
    assert figure.axes[0].get_yscale() == "log"


def test_visits_weigh_paths() -> None:
    visits = np.array([[3, 1, 0, 0], [0, 0, 1, 1]])
    figure = density.density_over_epochs([1, 2], [0.5, 0.25, 0.125, 0.125], visits, bins=3)
    assert histogram(figure).tolist() == [[75, 0], [25, 0], [0, 100]]
    (median,) = figure.axes[0].lines
    assert np.asarray(median.get_ydata()).tolist() == [2, 8]
    assert figure.axes[0].get_title() == "density of trained architectures (line: median)"


def test_of_many_epochs_some_are_named() -> None:
    figure = density.density_over_epochs(range(0, 500, 2), RNG.random((250, 9)) + 0.1)
    names = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert len(names) == 12
    assert histogram(figure).shape == (6, 250)
    assert (names[0], names[-1]) == ("0", "498")


def points(figure: object, panel: int = 0) -> list[list[float]]:
    (dots,) = [part for part in figure.axes[panel].collections if isinstance(part, PathCollection)]  # type: ignore[attr-defined]
    return np.asarray(dots.get_offsets()).tolist()  # type: ignore[no-any-return]


def test_accuracy_over_density() -> None:
    figure = density.density_vs_accuracy(
        DISTANCE, {"ground truth": [1, 2, 4, 3], "uniform": [40, 30, 10, 20]}
    )
    assert points(figure) == [[2, 1], [4, 2], [10, 4], [5, 3]]
    assert [axes.get_title() for axes in figure.axes] == ["ground truth: tau +1.00", "uniform: tau -1.00"]
    assert figure.axes[0].get_ylabel() == "accuracy (%)"


def test_gradient_against_functional_density() -> None:
    functional = np.array([0.4, 0.3, 0.15, 0.1])
    figure = density.gradient_vs_functional_density(DISTANCE, functional)
    assert points(figure) == pytest.approx(np.stack([1 / DISTANCE, 1 / functional], axis=1))
    pearson = stats.pearsonr(1 / DISTANCE, 1 / functional).statistic
    assert figure.axes[0].get_title() == f"4 architectures: Pearson {pearson:.2f}, Spearman 0.80"


def test_probes_stand_at_their_cost_and_age() -> None:
    figure = density.probe_fidelity(
        {16: 3.0, 64: 9.0}, {16: 0.9, 64: 0.97}, {1: 1.0, 100: 0.9}, {1: 1.0, 100: 0.7}
    )
    left, right = figure.axes
    assert np.array_equal(left.lines[0].get_xydata(), [[3.0, 0.9], [9.0, 0.97]])
    assert [text.get_text() for text in left.texts] == ["16 images", "64 images"]
    assert np.array_equal([np.asarray(line.get_ydata()) for line in right.lines], [[1.0, 0.9], [1.0, 0.7]])
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["1", "100"]
