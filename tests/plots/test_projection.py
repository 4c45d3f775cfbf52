import numpy as np
import pytest
from matplotlib.collections import PathCollection
from sklearn.decomposition import PCA

from lightning_nas.plots import projection

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(30, 7)) * np.array([5, 1, 1, 3, 1, 1, 1])


@pytest.mark.parametrize("shape", [(30, 7), (5, 40)])
def test_projection_is_that_of_scikit_learn(shape: tuple[int, int]) -> None:
    vectors = RNG.normal(size=shape) * np.geomspace(1, 3, shape[1])
    found, expected = projection.Projection(vectors), PCA(2, svd_solver="full").fit(vectors)
    others = RNG.normal(size=(4, shape[1]))
    assert found.share == pytest.approx(expected.explained_variance_ratio_)
    assert np.abs(found(others)) == pytest.approx(np.abs(expected.transform(others)))


def test_axes_have_a_sign_of_their_own() -> None:
    for vectors in (VECTORS, VECTORS.mean(0) * 2 - VECTORS):
        along = projection.Projection(vectors)(np.eye(7)) - projection.Projection(vectors)(np.zeros((1, 7)))
        assert (along[np.abs(along).argmax(axis=0), [0, 1]] > 0).all()


def test_equal_vectors_lie_on_one_point() -> None:
    found = projection.Projection(np.ones((3, 4)))
    assert found.share.tolist() == [0, 0]
    assert found(np.ones((3, 4))).tolist() == [[0, 0]] * 3


def test_unit_vectors() -> None:
    assert projection.unit_vectors([[3, 4], [0, 0], [0, 2]]).tolist() == [[0.6, 0.8], [0, 0], [0, 1]]


def test_gradients_are_coloured_by_rank_error_around_zero() -> None:
    error = np.arange(30) - 10.0
    figure = projection.gradient_map(VECTORS, error, [f"path {i}" for i in range(30)])
    axes = figure.axes[0]
    (dots,) = [part for part in axes.collections if isinstance(part, PathCollection)]
    assert dots.get_clim() == (-19, 19)
    drawn = np.asarray(dots.get_array())
    assert (np.diff(np.abs(drawn)) >= 0).all()
    assert sorted(drawn) == error.tolist()
    unit = projection.unit_vectors(VECTORS)
    coordinates = projection.Projection(unit)(unit)
    for value, point in zip(drawn, np.asarray(dots.get_offsets()), strict=True):
        assert point == pytest.approx(coordinates[int(value) + 10])
    assert [text.get_text() for text in axes.texts] == [
        "most overrated:\npath 29",
        "most underrated:\npath 0",
    ]
    assert axes.get_aspect() == 1


def test_lengths_of_gradients_do_not_matter() -> None:
    error, scale = np.zeros(30), RNG.random((30, 1)) + 0.5
    first, second = (
        projection.gradient_map(v, error).axes[0].collections[0] for v in (VECTORS, VECTORS * scale)
    )
    assert np.asarray(first.get_offsets()) == pytest.approx(np.asarray(second.get_offsets()))


def test_prototypes_are_drawn_in_the_plane_of_the_representations() -> None:
    prototypes = VECTORS[:4] * 0.9
    figure = projection.prototype_map(VECTORS, prototypes)
    sample, centres = (np.asarray(part.get_offsets()) for part in figure.axes[0].collections)
    plane = projection.Projection(VECTORS)
    assert sample == pytest.approx(plane(VECTORS))
    assert centres == pytest.approx(plane(prototypes))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["30 architectures", "4 prototypes"]


def test_spread_over_steps() -> None:
    (axes,) = projection.prototype_spread([0, 100], {"printed": [0.8, 0.0], "inverse": [0.8, 0.7]}).axes
    assert {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.lines} == {
        "printed": [0.8, 0.0],
        "inverse": [0.8, 0.7],
    }
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [0, 100]
    assert axes.get_ylim()[0] == 0
