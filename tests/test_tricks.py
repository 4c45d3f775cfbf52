import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.spaces import DARTS, RegularisedNetwork
from lightning_nas.tricks import AuxiliaryHead, DropPath, Tricks, mix, regularised


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


IMAGES, LABELS = torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])


def test_mixup_mixes_pixels_and_labels_alike() -> None:
    images, targets = mix(IMAGES, LABELS, 3, Tricks(mixup=1.0), rng())
    share = targets[0, 0]  # of the image itself; the one before it has another label
    assert 0 < share < 1
    torch.testing.assert_close(images, share * IMAGES + (1 - share) * IMAGES.roll(1, 0))
    hot = F.one_hot(LABELS, 3).float()
    torch.testing.assert_close(targets, share * hot + (1 - share) * hot.roll(1, 0))


def test_cutmix_labels_are_the_shares_of_the_pixels() -> None:
    for seed in range(5):
        images, targets = mix(IMAGES, LABELS, 3, Tricks(cutmix=1.0), rng(seed))
        own = (images == IMAGES).all(dim=1)
        assert (images == torch.where(own[:, None], IMAGES, IMAGES.roll(1, 0))).all()
        torch.testing.assert_close(own.float().mean(dim=(1, 2)), targets[range(6), LABELS])


def test_a_coin_chooses_between_mixup_and_cutmix() -> None:
    both = Tricks(mixup=1.0, cutmix=1.0)
    kept = [bool((mix(IMAGES, LABELS, 3, both, rng(seed))[0] == IMAGES).any()) for seed in range(30)]
    assert {True, False} == set(kept)


def test_draws_are_those_of_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = mix(IMAGES, LABELS, 3, Tricks(mixup=0.2), rng(3))
    state = torch.random.get_rng_state()
    second = mix(IMAGES, LABELS, 3, Tricks(mixup=0.2), rng(3))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first[1], mix(IMAGES, LABELS, 3, Tricks(mixup=0.2), rng(4))[1])


class Doubles(RegularisedNetwork):
    """Adds what two operations make of its input, each of which doubles it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = nn.ModuleList(nn.Conv2d(3, 3, 1, groups=3, bias=False) for _ in range(2))
        for operation in self.operations:
            nn.init.constant_(operation.weight, 2)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.operations[0](x) + self.operations[1](x))

    @property
    def droppable(self) -> list[nn.Module]:
        return list(self.operations)

    @property
    def auxiliary_input(self) -> nn.Module:
        return self.operations[1]

    def auxiliary_head(self) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_drop_path_drops_operations_for_single_images_and_scales_up_the_others() -> None:
    network, x = Doubles(), torch.ones(4000, 3, 1, 1)
    drop_path = DropPath(network)
    drop_path.draw(0.25, x, rng())
    factors = network(x).detach()[:, :, 0, 0]
    assert (factors == factors[:, :1]).all()
    values, counts = factors[:, 0].unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0, 2 / 0.75, 4 / 0.75]))
    assert (counts / 4000).tolist() == pytest.approx([1 / 16, 6 / 16, 9 / 16], abs=0.03)
    assert float(factors.mean()) == pytest.approx(4, abs=0.1)


def test_nothing_is_dropped_in_evaluation_or_with_probability_0() -> None:
    network, x = Doubles(), torch.ones(100, 3, 1, 1)
    drop_path = DropPath(network)
    drop_path.draw(0.0, x, rng())
    assert (network(x) == 4).all()
    drop_path.draw(0.5, x, rng())
    assert (network.eval()(x) == 4).all()


def test_the_auxiliary_head_sees_the_last_images_of_training() -> None:
    network = Doubles()
    auxiliary = AuxiliaryHead(network)
    network(IMAGES)
    logits = auxiliary()
    torch.testing.assert_close(logits, 2 * IMAGES.mean(dim=(2, 3)))
    network.eval()(IMAGES)
    assert auxiliary._seen is None


def test_darts_has_the_published_auxiliary_head() -> None:
    space = DARTS(channels=36, cells=20)
    network = space.build_standalone(space[0])
    assert isinstance(network, RegularisedNetwork)
    head = network.auxiliary_head()
    assert sum(parameter.numel() for parameter in head.parameters()) == 476_426
    pool = head[1]  # type: ignore[index]
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(pool(x), F.avg_pool2d(x, 5, stride=3))
    # The outcome of cell 13, which is the second reduction cell.
    assert network.auxiliary_input is network.cells[13]  # type: ignore[index]
    assert network.auxiliary_input.reduction


def test_darts_drops_all_operations_but_identities() -> None:
    space = DARTS(channels=2, cells=3, in_channels=1, image_size=16)
    skips = space.decode(
        "Genotype(normal=[('skip_connect', 0), ('skip_connect', 1), ('sep_conv_3x3', 0), ('skip_connect', 1), "
        "('skip_connect', 0), ('skip_connect', 1), ('skip_connect', 0), ('skip_connect', 1)], normal_concat=[2, 3, 4, 5], "
        "reduce=[('skip_connect', 0), ('skip_connect', 1), ('skip_connect', 0), ('skip_connect', 1), ('skip_connect', 0), "
        "('skip_connect', 1), ('skip_connect', 0), ('max_pool_3x3', 2)], reduce_concat=[2, 3, 4, 5])"
    )
    network = space.build_standalone(skips)
    assert isinstance(network, RegularisedNetwork)
    # In the one normal cell a convolution; in both reduction cells seven skips of stride 2 and a pooling.
    assert len(network.droppable) == 1 + 2 * 8


@pytest.mark.parametrize("size", [12, 16, 20, 28, 32])
def test_heads_fit_images_of_other_sizes(size: int) -> None:
    space = DARTS(channels=2, cells=3, num_classes=7, image_size=size)
    network = space.build_standalone(space[5])
    assert isinstance(network, RegularisedNetwork)
    auxiliary = AuxiliaryHead(network)
    network(torch.rand(2, 3, size, size))
    assert auxiliary().shape == (2, 7)


def test_images_that_are_too_small_for_a_head_are_refused() -> None:
    space = DARTS(channels=2, cells=3, image_size=8)
    network = space.build_standalone(space[5])
    assert isinstance(network, RegularisedNetwork)
    with pytest.raises(NASError, match="the auxiliary head would see 2x2 pixels and needs 3x3"):
        AuxiliaryHead(network)


def test_a_network_without_drop_path_is_refused() -> None:
    with pytest.raises(
        NASError, match=r"tricks\.drop_path is not 0, but the networks .* \(Linear\): valid is 0"
    ):
        regularised(nn.Linear(1, 1), "drop_path")


@pytest.mark.parametrize(
    ("name", "value"),
    [("mixup", -1), ("cutmix", float("nan")), ("auxiliary", float("inf")), ("drop_path", 1), ("ema", 1.5)],
)
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(NASError, match=rf"tricks\.{name} is {value}: valid are numbers from 0"):
        Tricks(**{name: value})
