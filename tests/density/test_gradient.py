from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from space_checks import CONFIGS, small_space, some_paths
from torch import Tensor, nn
from torch.nn import functional as F
from toy_space import Toy

from lightning_nas.density import Representation, mean_distances, representation
from lightning_nas.density import gradient as layerwise
from lightning_nas.density.gradient import owned_weights, shared_weights
from lightning_nas.density.representation import batch_statistics
from lightning_nas.spaces import NASBenchMacro, NormPolicy, ParameterSlice, Path, SearchSpace, Supernet

X, Y = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10
MACRO = NASBenchMacro((4, 4, 6, 6), head_channels=8, in_channels=1, image_size=8)


def supernet_of(space: SearchSpace) -> Supernet:
    torch.manual_seed(0)
    return space.build_supernet()


def layers_of(supernet: Any, path: Path) -> list[list[nn.Parameter]]:
    """The weights of the stem, of every decision and of the head, in the spaces of these tests."""
    if isinstance(supernet.space, Toy):
        chosen = [[] if c == 0 else list(supernet.choices[d][c - 1].parameters()) for d, c in enumerate(path)]
    else:
        chosen = [list(supernet.layers[d][c].parameters()) for d, c in enumerate(path)]
    return [list(supernet.stem.parameters()), *chosen, list(supernet.head.parameters())]


def slow_layer_mean(supernet: Supernet, paths: Sequence[Path]) -> list[float]:
    """Every pair of paths and every layer, one at a time."""
    gradients = []
    for path in paths:
        layers = layers_of(supernet, path)
        with batch_statistics(supernet):
            loss = F.cross_entropy(supernet(X, path), Y)
        found = []
        for layer in layers:
            grads = torch.autograd.grad(loss, layer, retain_graph=True) if layer else ()
            found.append(torch.cat([g.flatten() for g in grads]).double() if grads else None)
        gradients.append(found)

    def distance(i: int, j: int) -> float:
        choices = [(-1, -1), *zip(paths[i], paths[j], strict=True), (-1, -1)]
        distances = []
        for (a, b), g, h in zip(choices, gradients[i], gradients[j], strict=True):
            if a != b:
                distances.append(1.0)
            elif g is not None and h is not None:
                distances.append(1 - float(g @ h) / float(g.norm() * h.norm()))
        return sum(distances) / len(distances)

    n = len(paths)
    return [sum(distance(i, j) for j in range(n) if j != i) / (n - 1) for i in range(n)]


@pytest.mark.parametrize("space", [Toy(layers=3, width=3), MACRO], ids=["toy", "macro"])
def test_closed_form_equals_all_pairs(space: SearchSpace) -> None:
    """Both spaces have a choice without weights: a layer where two paths take it is left out."""
    supernet = supernet_of(space)
    paths = some_paths(space, 27)
    assert any(len(layer) == 0 for path in paths for layer in layers_of(supernet, path))
    found = mean_distances(supernet, paths, X, Y, "gradient")
    assert found == pytest.approx(slow_layer_mean(supernet, paths), abs=1e-10)


class Pair(Supernet):
    """Two paths with two shared weights and one of their own each."""

    def __init__(self) -> None:
        super().__init__(Toy(layers=1), NormPolicy())
        self.shared = nn.Parameter(torch.zeros(2))
        self.own = nn.ParameterList([torch.zeros(1), torch.zeros(1)])

    def forward(self, x: Tensor, path: Path) -> Tensor:
        raise NotImplementedError

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        return [ParameterSlice(self.own[choice - 1])] if choice else []


def test_worked_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared gradients (1, 0) and (1, 1), own ones of length 3 and 4."""
    supernet = Pair()
    values: dict[Path, dict[nn.Parameter, list[float]]] = {
        (1,): {supernet.shared: [1.0, 0.0], supernet.own[0]: [3.0]},
        (2,): {supernet.shared: [1.0, 1.0], supernet.own[1]: [4.0]},
    }

    def given(_supernet: Supernet, path: Path, _x: Tensor, _y: Tensor, weights: Any) -> list[Tensor]:
        return [torch.tensor(values[path].get(p, [0.0] * p.numel())) for p in weights]

    monkeypatch.setattr(layerwise, "path_gradient", given)
    monkeypatch.setattr(representation, "path_gradient", given)
    paths = ((1,), (2,))
    assert mean_distances(supernet, paths, X, Y, "gradient") == pytest.approx([0.64645] * 2, abs=1e-5)
    assert mean_distances(supernet, paths, X, Y, "gradient_concat") == pytest.approx([0.92546] * 2, abs=1e-5)


KINDS: tuple[Representation, ...] = ("gradient", "gradient_concat")
SHARING = ("autoformer", "darts", "nds_resnet", "nds_resnext", "pooling")


@pytest.mark.parametrize("name", SHARING)
def test_without_own_weights_layers_are_one(name: str) -> None:
    space = small_space(CONFIGS / f"{name}_small.yaml")
    supernet, paths = supernet_of(space), some_paths(space, 4)
    assert not owned_weights(supernet)
    one, all_of_them = (mean_distances(supernet, paths, X, Y, kind) for kind in KINDS)
    assert np.array_equal(one, all_of_them)


@pytest.mark.parametrize(
    ("name", "owned", "shared"),
    [
        ("macro", 8 * 2 + 3, 2),
        ("mobilenet", 6 + 3 * 6, 2),
        ("nasbench201", 6 * 2, 4),
        ("nasbench1shot1", 12, 5),
    ],
)
def test_who_owns_weights(name: str, owned: int, shared: int) -> None:
    """NAS-Bench-201 shares stem, two reductions and head. In NAS-Bench-1Shot1 two nodes have a projection alone."""
    supernet = supernet_of(small_space(CONFIGS / f"{name}_small.yaml"))
    own = owned_weights(supernet)
    common = shared_weights(supernet, own)
    assert (len(own), len(common)) == (owned, shared)
    everything = [p for block in (*own.values(), *common.values()) for p in block]
    assert len(everything) == len(set(everything)) == len(list(supernet.parameters()))


def test_gradients_of_the_layers_leave_no_trace() -> None:
    supernet = supernet_of(Toy(layers=2)).train()
    F.cross_entropy(supernet(X, (1, 1)), Y).backward()
    grads = [None if p.grad is None else p.grad.clone() for p in supernet.parameters()]
    mean_distances(supernet, tuple(supernet.space), X, Y, "gradient")
    for parameter, before in zip(supernet.parameters(), grads, strict=True):
        assert (parameter.grad is None) if before is None else torch.equal(parameter.grad, before)  # type: ignore[arg-type]
    assert all(module.training for module in supernet.modules())
