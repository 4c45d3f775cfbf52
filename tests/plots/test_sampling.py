import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import StepPatch

from lightning_nas.errors import NASError
from lightning_nas.plots import sampling, style
from lightning_nas.plots.sampling import Floats

DISTANCE = [0.1, 0.4, 0.2, 0.3]
SPARSE_TO_DENSE = [1, 3, 2, 0]
LABELS = ["a", "b", "c", "d"]


def steps(axes: Axes) -> list[tuple[Floats, Floats]]:
    """Values and edges of every step curve."""
    return [patch.get_data()[:2] for patch in axes.patches if isinstance(patch, StepPatch)]


def test_density_groups_are_single_paths_from_sparse_to_dense() -> None:
    assert [group.tolist() for group in sampling.density_groups(DISTANCE)] == [[i] for i in SPARSE_TO_DENSE]
    assert [group.tolist() for group in sampling.density_groups([1, 2, 1])] == [[1], [0], [2]]


def test_many_paths_form_sixty_groups() -> None:
    distance = np.random.default_rng(0).random(605)
    groups = sampling.density_groups(distance)
    assert {len(group) for group in groups} == {10, 11}
    assert len(groups) == 60
    assert sorted(np.concatenate(groups)) == list(range(605))
    assert (np.diff(distance[np.concatenate(groups)]) < 0).all()


def test_group_means_keep_leading_axes() -> None:
    values = np.array([[1.0, 2, 3], [4, 5, 6]])
    found = sampling.group_means(values, [np.array([2, 0]), np.array([1])])
    assert found.tolist() == [[2, 2], [5, 5]]


def test_frequencies_accept_counts_and_probabilities() -> None:
    assert sampling.frequencies([1, 3]).tolist() == [0.25, 0.75]
    assert sampling.frequencies([0.25, 0.75]).tolist() == [0.25, 0.75]


@pytest.mark.parametrize("counts", [[0, 0], [1, -1], [1, math.nan], [1, math.inf]])
def test_impossible_counts_are_refused(counts: list[float]) -> None:
    with pytest.raises(NASError, match="finite, 0 or more, and not all 0"):
        sampling.sampling_frequency([1, 2], {"uniform": counts})


def test_effective_size() -> None:
    assert sampling.effective_size(np.full(4, 0.25)) == 4
    assert sampling.effective_size(np.array([1.0, 0, 0, 0])) == 1
    assert sampling.effective_size(np.array([0.5, 0.5, 0, 0])) == 2


def test_figure_shows_the_shares_in_density_order() -> None:
    counts = {"uniform": np.full(4, 5), "density": np.array([0.1, 0.4, 0.2, 0.3])}
    axes = sampling.sampling_frequency(DISTANCE, counts, LABELS).axes[0]
    (uniform, _), (density, edges) = steps(axes)
    assert uniform.tolist() == [25, 25, 25, 25]
    assert density == pytest.approx([40, 30, 20, 10])
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert [to_rgb(patch.get_edgecolor()) for patch in axes.patches] == [
        to_rgb(colour) for colour in style.colours(counts).values()
    ]
    (line,) = axes.lines
    assert np.asarray(line.get_ydata()).tolist() == [25, 25]


def test_figure_texts() -> None:
    axes = sampling.sampling_frequency(DISTANCE, {"density": [0.5, 0.5, 0, 0]}, LABELS).axes[0]
    assert axes.get_title() == "sampling frequency"
    assert axes.get_xlabel() == "architectures from sparse to dense"
    assert axes.get_ylabel() == "share of steps (%)"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["b", "d", "c", "a"]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "density (effective size 2.0 of 4)",
        "equal shares: 1/4",
    ]


def test_many_paths_are_drawn_as_means_without_names() -> None:
    n = 120
    figure = sampling.sampling_frequency(np.arange(n), {"density": np.arange(n)}, list(map(str, range(n))))
    axes = figure.axes[0]
    pairs = np.arange(n)[::-1].reshape(60, 2).mean(axis=1)
    assert steps(axes)[0][0] == pytest.approx(100 * pairs / np.arange(n).sum())
    assert axes.get_xlabel() == "architectures from sparse to dense, means of 60 groups"
    assert not axes.get_xticklabels()
