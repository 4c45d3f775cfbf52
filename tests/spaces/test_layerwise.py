from dataclasses import dataclass

import torch
from torch import nn

from lightning_nas.spaces import Cost, LayerwiseSpace, NormPolicy, Path
from lightning_nas.spaces.layerwise import LayerwiseSupernet


@dataclass(frozen=True)
class Lines(LayerwiseSpace):
    """Three layers; the second of them has one more choice, which is nothing."""

    num_classes: int = 4
    in_channels: int = 1
    image_size: int = 2

    @property
    def num_choices(self) -> tuple[int, ...]:
        return (2, 3, 2)

    def encode(self, path: Path) -> str:
        return "".join(map(str, path))

    def decode(self, text: str) -> Path:
        return tuple(map(int, text))

    def cost(self, path: Path) -> Cost:
        return Cost(0, 0)

    def stem(self, norm: NormPolicy) -> nn.Module:
        return nn.Flatten()

    def layer(self, decision: int, choice: int, norm: NormPolicy) -> nn.Module:
        return nn.Identity() if choice == 2 else nn.Linear(4, 4)

    def head(self, norm: NormPolicy) -> nn.Module:
        return nn.Linear(4, self.num_classes)


def supernet() -> LayerwiseSupernet:
    built = Lines().build_supernet()
    assert isinstance(built, LayerwiseSupernet)
    return built


def test_a_path_runs_its_layers_one_after_the_other() -> None:
    net, x = supernet(), torch.randn(3, 1, 2, 2)
    first, second, third = ([*layer.children()] for layer in net.layers)
    assert [len(first), len(second), len(third)] == [2, 3, 2]
    y = net.head(third[0](second[1](first[1](x.flatten(1)))))
    assert torch.equal(net(x, (1, 1, 0)), y)
    assert torch.equal(net(x, (0, 2, 1)), net.head(third[1](first[0](x.flatten(1)))))


def test_every_choice_owns_its_weights() -> None:
    net = supernet()
    owned = [
        len(net.choice_parameters(d, c))
        for d, number in enumerate(Lines().num_choices)
        for c in range(number)
    ]
    assert owned == [2, 2, 2, 2, 0, 2, 2]
    assert len(net.path_parameters((0, 2, 1))) == 2 + 0 + 2 + 2


def test_networks_name_their_weights_like_the_supernet() -> None:
    names = set(Lines().build_standalone((1, 2, 0)).state_dict())
    assert names == {
        "layers.0.1.weight",
        "layers.0.1.bias",
        "layers.2.0.weight",
        "layers.2.0.bias",
        "head.weight",
        "head.bias",
    }
    assert names <= set(supernet().state_dict())
