import pytest
import short_runs
import torch

from lightning_nas.differentiable import halved
from lightning_nas.differentiable.halves import require_halves
from lightning_nas.errors import NASError


@pytest.mark.parametrize(("train_size", "batch_size"), [(200, 50), (201, 7), (90, 40)])
def test_batches_are_of_both_halves(train_size: int, batch_size: int) -> None:
    data = short_runs.digits(train_size=train_size, batch_size=batch_size)
    both, half = halved(data), train_size // 2
    loader = both.train_dataloader()
    epochs = [[indices for *_, indices in loader] for _ in range(2)]
    for batches in epochs:
        assert len(batches) == half // batch_size
        first = torch.cat([indices[:batch_size] for indices in batches])
        second = torch.cat([indices[batch_size:] for indices in batches])
        assert len(first) == len(second) == len(batches) * batch_size
        assert first.max() < half <= second.min()
        assert second.max() < 2 * half
        assert len(first.unique()) == len(first)
        assert len(second.unique()) == len(second)
    assert not torch.equal(epochs[0][0], epochs[1][0])
    assert data.batch_size == batch_size
    assert data.order is None


def test_halves_do_not_depend_on_the_seed() -> None:
    """Their order does."""
    batches = [next(iter(halved(short_runs.digits(seed=seed)).train_dataloader()))[2] for seed in (0, 1)]
    assert not torch.equal(*batches)
    assert all(indices[:50].max() < 100 <= indices[50:].min() for indices in batches)


def test_what_has_no_halves_is_refused() -> None:
    with pytest.raises(NASError, match=r"in an order of its own: leave out data\.balanced"):
        require_halves(halved(short_runs.digits(balanced=True)))
    with pytest.raises(
        NASError, match=r"data\.batch_size is 101, but strategy .* on 100 training images each"
    ):
        require_halves(halved(short_runs.digits(batch_size=101)))
    require_halves(halved(short_runs.digits(batch_size=100)))
