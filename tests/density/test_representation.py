from pathlib import Path as File

import numpy as np
import pytest
import torch
from space_checks import CONFIGS, small_space, some_paths
from torch.nn import functional as F
from toy_space import Toy

from lightning_nas.density import (
    Representation,
    UnitRepresentation,
    mean_distance,
    mean_distances,
    probe_indices,
    unit_representations,
    unit_vectors,
)
from lightning_nas.density.representation import batch_statistics, centred_gram, functional, gradient
from lightning_nas.errors import NASError
from lightning_nas.spaces import NormPolicy, Pooling, Supernet
from lightning_nas.spaces.operations import SHARED

SPACE = Pooling(blocks=(1, 1, 1), channels=(4, 4, 6), image_size=8, in_channels=1)
X, Y = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10


def pooling(norm: NormPolicy = SHARED) -> Supernet:
    torch.manual_seed(0)
    return SPACE.build_supernet(norm=norm)


def test_functional_is_the_flattened_output() -> None:
    supernet = pooling()
    rows = functional(supernet, tuple(SPACE), X)
    for row, path in zip(rows, SPACE, strict=True):
        assert np.array_equal(row, supernet(X, path).detach().flatten().numpy())


@pytest.mark.parametrize("space", [SPACE, Toy(layers=2, width=3)])
def test_gradient_is_that_of_the_cross_entropy(space: Pooling | Toy) -> None:
    torch.manual_seed(0)
    supernet = space.build_supernet()
    rows = gradient(supernet, tuple(space), X, Y)
    for row, path in zip(rows, space, strict=True):
        supernet.zero_grad(set_to_none=False)
        F.cross_entropy(supernet(X, path), Y).backward()
        expected = [torch.zeros_like(p) if p.grad is None else p.grad for p in supernet.parameters()]
        np.testing.assert_allclose(row, torch.cat([g.flatten() for g in expected]).numpy(), rtol=0, atol=0)


@pytest.mark.parametrize("representation", ["functional", "cka", "gradient", "gradient_concat"])
@pytest.mark.parametrize("training", [True, False])
def test_measuring_leaves_no_trace(representation: Representation, training: bool) -> None:
    supernet = pooling(NormPolicy(affine=True, running_stats=True)).train(training)
    F.cross_entropy(supernet(X, (0,)), Y).backward()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    grads = [p.grad.clone() for p in supernet.parameters() if p.grad is not None]
    random = torch.random.get_rng_state()
    mean_distances(supernet, tuple(SPACE), X, Y, representation)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
    assert all(
        torch.equal(p.grad, g)
        for p, g in zip(supernet.parameters(), grads, strict=True)
        if p.grad is not None
    )
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(module.training == training for module in supernet.modules())


def test_batch_norm_uses_the_statistics_of_the_probe() -> None:
    supernet = pooling(NormPolicy(running_stats=True)).eval()
    twin = pooling()
    twin.load_state_dict(supernet.state_dict(), strict=False)
    with batch_statistics(supernet):
        assert torch.equal(supernet(X, (1,)), twin(X, (1,)))
    assert not torch.equal(supernet(X, (1,)), twin(X, (1,)))


def test_an_interruption_restores_the_modes() -> None:
    supernet = pooling(NormPolicy(running_stats=True)).train()
    before = supernet.state_dict()
    with pytest.raises(KeyboardInterrupt), batch_statistics(supernet):
        raise KeyboardInterrupt
    assert all(m.training for m in supernet.modules())
    assert supernet.state_dict().keys() == before.keys()


def test_mean_distances_of_each_representation() -> None:
    supernet = pooling()
    paths = tuple(SPACE)
    assert mean_distances(supernet, paths, X, Y, "functional") == pytest.approx(
        mean_distance(functional(supernet, paths, X))
    )
    assert mean_distances(supernet, paths, X, Y, "gradient") == pytest.approx(
        mean_distance(gradient(supernet, paths, X, Y))
    )
    assert mean_distances(supernet, paths, X, Y, "encoding") == pytest.approx([2 * 2 / 3 / 2] * 3)


def test_probe_is_drawn_without_repetition_and_fixed_by_the_seed() -> None:
    probe = probe_indices(100, 64, seed=3)
    assert len(set(probe)) == 64
    assert set(probe) <= set(range(100))
    assert probe == probe_indices(100, 64, seed=3) != probe_indices(100, 64, seed=4)


@pytest.mark.parametrize("size", [1, 101])
def test_a_probe_that_the_data_cannot_give_is_refused(size: int) -> None:
    with pytest.raises(NASError, match=f"probe_size is {size}, but the validation split has 100 images"):
        probe_indices(100, size, seed=0)


def hsic(x: torch.Tensor, y: torch.Tensor) -> float:
    """Of centred Gram matrices, element by element."""
    n = len(x)
    h = np.eye(n) - 1 / n
    k, m = (h @ (z.flatten(1).double() @ z.flatten(1).double().T).numpy() @ h for z in (x, y))
    return sum(float(k[i, j] * m[i, j]) for i in range(n) for j in range(n))


def cka_of(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)))


def test_cka_worked_example() -> None:
    """A rotation and a scale do not matter."""
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
    turned = 3 * x @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    y, same, other = (
        unit_vectors(centred_gram(z).flatten().numpy())
        for z in (x, turned, torch.tensor([[1.0], [0.0], [0.0], [1.0]]))
    )
    assert y @ same == pytest.approx(1, abs=1e-12)
    assert y @ other == pytest.approx(0.755929, abs=1e-6)


@pytest.mark.parametrize("space", [SPACE, Toy(layers=3, width=3)])
def test_cka_distances_are_means_over_layers_and_pairs(space: Pooling | Toy) -> None:
    torch.manual_seed(0)
    supernet = space.build_supernet()
    paths = tuple(space)[:6]
    with torch.no_grad(), batch_statistics(supernet):
        layers = [supernet.activations(X, path) for path in paths]
    n = len(paths)
    expected = [
        sum(
            np.mean([1 - cka_of(x, y) for x, y in zip(layers[i], layers[j], strict=True)])
            for j in range(n)
            if j != i
        )
        / (n - 1)
        for i in range(n)
    ]
    assert mean_distances(supernet, paths, X, Y, "cka") == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["functional", "cka", "gradient_concat"])
def test_unit_representations_give_the_same_distances(kind: UnitRepresentation) -> None:
    supernet = pooling()
    y = unit_representations(supernet, tuple(SPACE), X, Y, kind)
    n = len(y)
    assert np.linalg.norm(y, axis=1) == pytest.approx(np.ones(n))
    pairwise = (n - (y @ y.T).sum(1)) / (n - 1)
    assert mean_distances(supernet, tuple(SPACE), X, Y, kind) == pytest.approx(pairwise, abs=1e-6)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*_small.yaml")), ids=lambda file: file.stem)
def test_every_space_says_which_activations_stand_for_a_path(file: File) -> None:
    space = small_space(file)
    torch.manual_seed(0)
    supernet = space.build_supernet()
    paths = some_paths(space, 3)
    with torch.no_grad(), batch_statistics(supernet):
        layers = {path: supernet.activations(X, path) for path in paths}
    assert len({len(found) for found in layers.values()}) == 1
    assert all(len(layer) == len(X) for found in layers.values() for layer in found)
    assert not any(module._forward_hooks for module in supernet.modules())
    distances = mean_distances(supernet, paths, X, Y, "cka")
    assert (distances > 0).all()


def test_a_supernet_that_names_no_activations_is_refused() -> None:
    supernet = pooling()
    bare = Supernet.activations
    with pytest.raises(NASError, match="PoolingSupernet does not say which activations stand for a path"):
        bare(supernet, X, (0,))


@pytest.mark.parametrize("representation", ["functional", "cka", "gradient"])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_diverged_weights_are_told(representation: Representation) -> None:
    supernet = pooling()
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.fill_(torch.inf)
    with pytest.raises(NASError, match=r"^what represents the paths is not finite: lower the learning rate"):
        mean_distances(supernet, tuple(SPACE)[:3], X, Y, representation)
    unit = "gradient_concat" if representation == "gradient" else representation
    with pytest.raises(NASError, match="not finite"):
        unit_representations(supernet, tuple(SPACE)[:3], X, Y, unit)  # type: ignore[arg-type]
