import numpy as np
import pytest
import torch
from torch.nn import functional as F
from toy_space import Toy

from lightning_nas.density import mean_distance, mean_distances, probe_indices
from lightning_nas.density.representation import Representation, batch_statistics, functional, gradient
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


@pytest.mark.parametrize("representation", ["functional", "gradient"])
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
    assert all(m.track_running_stats for m in supernet.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_batch_norm_uses_the_statistics_of_the_probe() -> None:
    supernet = pooling(NormPolicy(running_stats=True)).eval()
    twin = pooling()
    twin.load_state_dict(supernet.state_dict(), strict=False)
    with batch_statistics(supernet):
        assert torch.equal(supernet(X, (1,)), twin(X, (1,)))
    assert not torch.equal(supernet(X, (1,)), twin(X, (1,)))


def test_an_interruption_restores_the_modes() -> None:
    supernet = pooling(NormPolicy(running_stats=True)).train()
    with pytest.raises(KeyboardInterrupt), batch_statistics(supernet):
        raise KeyboardInterrupt
    assert all(m.training for m in supernet.modules())
    assert all(m.track_running_stats for m in supernet.modules() if isinstance(m, torch.nn.BatchNorm2d))


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
