from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_nas.density import mean_distance
from lightning_nas.density.prototypes import (
    Beta,
    cluster,
    cosine_distances,
    project,
    spread,
    update,
    warn_of_collapse,
)

C = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
Y = torch.tensor([0.8, 0.6], dtype=torch.float64)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def mixture(number: int, dimensions: int = 20, clusters: int = 6) -> Tensor:
    """Unit vectors around a few directions, some of which are more common than others."""
    draws = np.random.default_rng(1)
    means = draws.normal(size=(clusters, dimensions))
    of = draws.choice(clusters, number, p=np.arange(1, clusters + 1) / sum(range(1, clusters + 1)))
    y = means[of] + 0.3 * draws.normal(size=(number, dimensions))
    return torch.from_numpy(y / np.linalg.norm(y, axis=1, keepdims=True))


def test_worked_example_of_distances() -> None:
    distances = cosine_distances(Y, C)
    assert distances.tolist() == pytest.approx([0.2, 0.4, 1.8])
    assert float(distances.mean()) == pytest.approx(0.8)
    # The length of a prototype does not matter.
    assert cosine_distances(Y, C * torch.tensor([[2.0], [0.1], [7.0]])).tolist() == pytest.approx(
        [0.2, 0.4, 1.8]
    )


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        ("printed", [(0.999767, 0.000698), (0.003721, 0.998140), (-0.830465, 0.056512)]),
        ("inverse", [(0.984156, 0.047531), (0.015844, 0.992078), (-0.998240, 0.000587)]),
    ],
)
def test_worked_example_of_updates(beta: Beta, expected: list[tuple[float, float]]) -> None:
    assert update(C, Y, 0.1, beta).numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_a_path_at_distance_zero_from_all_prototypes_moves_none_of_them_wrongly() -> None:
    same = torch.tensor([[2.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    moved = update(same, torch.tensor([1.0, 0.0], dtype=torch.float64), 0.5)
    # Both take half of the step, since both are equally near.
    assert moved.tolist() == [[1.75, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(("beta", "collapses"), [("printed", True), ("inverse", False)])
def test_the_printed_update_makes_all_prototypes_one(beta: Beta, collapses: bool) -> None:
    population = mixture(4000)
    prototypes, _ = cluster(population[:200], 6, rng())
    initial = spread(prototypes)
    for y in population:
        prototypes = update(prototypes, y, 0.1, beta)
    with pytest.warns(UserWarning, match="less than a tenth") if collapses else nullcontext():
        assert warn_of_collapse(spread(prototypes), initial) == collapses
    if collapses:
        # What is left is the mean of the population, from which densities can still be read.
        true = mean_distance(population.numpy())
        estimated = cosine_distances(population, prototypes).mean(1).numpy()
        assert np.corrcoef(true, estimated)[0, 1] > 0.95


def test_masses_make_the_distance_to_a_population_exact() -> None:
    population = mixture(300)
    n = len(population)
    for number in (1, 3, 20):
        centres, masses = cluster(population, number, rng())
        assert float(masses.sum()) == pytest.approx(1)
        by_mass = 1 - population @ (masses @ centres)
        assert by_mass.numpy() * n / (n - 1) == pytest.approx(mean_distance(population.numpy()), abs=1e-10)


def test_clusters_are_found_again_and_are_fixed_by_their_seed() -> None:
    population = mixture(600)
    centres, masses = cluster(population, 6, rng())
    again, _ = cluster(population, 6, rng())
    assert torch.equal(centres, again)
    assert sorted(masses.tolist()) == pytest.approx([k / 21 for k in range(1, 7)], abs=0.06)


def test_clustering_leaves_the_global_streams_alone() -> None:
    def states() -> Any:
        return np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]  # noqa: NPY002

    before = states()
    cluster(mixture(50), 3, rng())
    assert states() == before


def test_there_are_no_more_prototypes_than_different_paths() -> None:
    three = mixture(3)
    centres, masses = cluster(three.repeat(5, 1), 10, rng())
    assert len(centres) == 3
    assert masses.tolist() == pytest.approx([1 / 3] * 3)
    assert spread(centres) == pytest.approx(mean_distance(three.numpy()).mean())


def test_the_spread_is_the_mean_over_all_pairs() -> None:
    # Distances 1 (twice) and 2 between three prototypes, whatever their lengths.
    assert spread(C) == pytest.approx((1 + 2 + 1) / 3)
    assert spread(C[:1]) == 0


def test_projection_keeps_lengths_and_about_the_dot_products() -> None:
    y = mixture(40, dimensions=6000)
    projected = project(y, seed=3)
    assert projected.shape == (40, 2048)
    assert torch.equal(projected, project(y, seed=3))
    assert not torch.equal(projected, project(y, seed=4))
    assert projected.norm(dim=1).numpy() == pytest.approx(np.ones(40))
    assert (projected @ projected.T).numpy() == pytest.approx((y @ y.T).numpy(), abs=0.12)
    short = mixture(3, dimensions=4096)
    assert project(short, seed=3) is short
    assert project(torch.zeros(1, 5000, dtype=torch.float64), seed=3).abs().sum() == 0
