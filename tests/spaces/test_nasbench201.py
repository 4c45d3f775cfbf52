import itertools
from collections import Counter
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
import pytest
import torch
from space_checks import images, measured_cost, some_paths
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.spaces import NASBench201, NormPolicy
from lightning_nas.spaces.nasbench201_graph import EDGES, Edge, live_edges
from lightning_nas.spaces.nasbench201_networks import NASBench201Network, NASBench201Supernet, SearchCell

CIFAR10 = NASBench201()
SMALL = NASBench201(channels=4, cells=1, in_channels=1, image_size=8)
FAMOUS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"


def test_published_form() -> None:
    assert CIFAR10.size == 15_625
    assert CIFAR10.decode(FAMOUS) == (3, 3, 4, 1, 3, 1)
    assert CIFAR10.encode((3, 3, 4, 1, 3, 1)) == FAMOUS
    assert CIFAR10.index((3, 3, 3, 3, 3, 3)) == 11718


@pytest.mark.parametrize(
    ("classes", "size", "params", "macs", "of_1x1", "of_3x3"),
    [
        (10, 32, 73_306, 7_783_040, 3_932_160, 35_389_440),
        (100, 32, 79_156, 7_788_800, 3_932_160, 35_389_440),
        (120, 16, 80_456, 1_953_280, 983_040, 8_847_360),
    ],
)
def test_published_costs(classes: int, size: int, params: int, macs: int, of_1x1: int, of_3x3: int) -> None:
    space = NASBench201(num_classes=classes, image_size=size)
    for path in itertools.islice(space, 0, None, 7):
        n1, n3 = path.count(2), path.count(3)
        cost = space.cost(path)
        assert cost.params == params + 28_000 * n1 + 243_040 * n3
        assert cost.macs == macs + of_1x1 * n1 + of_3x3 * n3


def test_costs_of_famous_cells() -> None:
    famous, dense = CIFAR10.cost(CIFAR10.decode(FAMOUS)), CIFAR10.cost((3,) * 6)
    # The benchmark counts the ten biases of the classifier as well.
    assert (famous.params, famous.macs + 10) == (802_426, 113_951_370)
    assert (dense.params, dense.macs + 10) == (1_531_546, 220_119_690)


def test_cost_is_that_of_the_published_size() -> None:
    path = CIFAR10.decode(FAMOUS)
    assert CIFAR10.cost(path) == measured_cost(CIFAR10.build_standalone(path), images(CIFAR10))


def test_weights_of_the_published_supernet() -> None:
    # PA&DA's has 1,692,474 with the biases of its convolutions, which batch-norm makes void.
    supernet = CIFAR10.build_supernet()
    biases = 15 // 3 * 6 * 2 * (16 + 32 + 64) + 2 * (32 + 64)
    assert sum(p.numel() for p in supernet.parameters()) == 1_692_474 - biases


def test_classes_of_isomorphic_cells() -> None:
    assert len(set(map(CIFAR10.canonical, CIFAR10))) == 4930
    assert len({CIFAR10.published_key(path) for path in CIFAR10}) == 6466
    assert len(set(map(CIFAR10.functional_key, CIFAR10))) == 9445
    assert sum(CIFAR10.canonical(path) == () for path in CIFAR10) == 341
    assert sum(CIFAR10.functional_key(path) == () for path in CIFAR10) == 341
    sizes = Counter(map(CIFAR10.canonical, CIFAR10))
    assert sum(size > 1 for size in sizes.values()) == 1206
    published = Counter(CIFAR10.published_key(path) for path in CIFAR10)
    assert sorted(published.values())[-5:] == [225, 250, 275, 275, 275]


@pytest.mark.parametrize(
    ("path", "published", "sizes"),
    [
        ((0, 0, 0, 3, 0, 0), "#+#+(0)@nor_conv_3x3", (275, 460, 341)),
        ((3, 0, 0, 1, 0, 0), "#+#+0", (250, 400, 341)),
        ((1, 0, 0, 0, 3, 0), "#+#+(0)@nor_conv_3x3", (275, 460, 29)),
        ((1, 1, 1, 1, 1, 1), "0+0+0+0", (1, 1, 1)),
        (
            (3, 2, 1, 0, 4, 1),
            "#+((0)@nor_conv_3x3)@avg_pool_3x3+(0)@nor_conv_1x1+(0)@nor_conv_3x3",
            (4, 17, 1),
        ),
        ((0, 0, 3, 0, 0, 2), "#+#+(#+#)@nor_conv_1x1", (29, 341, 341)),
        ((0, 3, 0, 0, 0, 1), "#+#+#+(0)@nor_conv_3x3", (62, 460, 29)),
    ],
)
def test_published_classes(path: tuple[int, ...], published: str, sizes: tuple[int, int, int]) -> None:
    assert CIFAR10.published_key(path) == published
    same = (
        sum(CIFAR10.published_key(other) == published for other in CIFAR10),
        CIFAR10.class_size(path),
        sum(CIFAR10.functional_key(other) == CIFAR10.functional_key(path) for other in CIFAR10),
    )
    assert same == sizes


@pytest.mark.parametrize(
    ("dataset", "best", "archs"),
    [
        (
            "cifar10",
            94.37,
            {
                "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|",
                "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
            },
        ),
        (
            "cifar100",
            73.51,
            {
                "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
            },
        ),
        (
            "imagenet16_120",
            47.31,
            {
                "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
            },
        ),
    ],
)
def test_ground_truth_is_that_of_the_published_cells(
    data_root: Path, dataset: str, best: float, archs: set[str]
) -> None:
    table = TabularBenchmark.read(data_root / "benchmarks" / "nasbench201.csv")
    table.check(map(CIFAR10.encode, CIFAR10))
    truth = table.column(dataset)
    assert max(truth.values()) == best
    assert {arch for arch, accuracy in truth.items() if accuracy == best} == archs
    # In the order of the product, as the published lists of accuracies.
    assert list(truth) == [CIFAR10.encode(path) for path in CIFAR10]


def test_cells_without_connection_are_at_chance(data_root: Path) -> None:
    truth = TabularBenchmark.read(data_root / "benchmarks" / "nasbench201.csv").column("cifar10")
    at_chance = {path for path in CIFAR10 if truth[CIFAR10.encode(path)] == 10.0}
    assert at_chance == {path for path in CIFAR10 if CIFAR10.functional_key(path) == ()}


def slow_cell(cell: SearchCell, path: tuple[int, ...], x: Tensor) -> Tensor:
    """A cell as the released code runs it: all edges, and those without operation times zero."""
    nodes = [x]
    for target in (1, 2, 3):
        total = torch.zeros_like(x)
        for edge, (source, reached) in enumerate(EDGES):
            if reached == target:
                y = 0 * nodes[source] if path[edge] == 0 else cell.operation(edge, path[edge])(nodes[source])
                total = total + y
        nodes.append(total)
    return nodes[3]


def test_leaving_out_dead_edges_changes_nothing() -> None:
    """Without scale and shift, batch-norm of zeros is zero: so the released networks compute the same."""
    supernet = SMALL.build_supernet().double()
    assert isinstance(supernet, NASBench201Supernet)
    cell = supernet.cells[0]
    x = torch.randn(8, 4, 8, 8, dtype=torch.float64)
    for path in some_paths(SMALL, 60):
        torch.testing.assert_close(cell(x, live_edges(path)), slow_cell(cell, path, x))


def test_isomorphic_cells_have_similar_ground_truth(data_root: Path) -> None:
    truth = TabularBenchmark.read(data_root / "benchmarks" / "nasbench201.csv").column("cifar10")

    def spread(key: Callable[[tuple[int, ...]], Hashable]) -> float:
        groups: dict[Hashable, list[float]] = {}
        for path in CIFAR10:
            groups.setdefault(key(path), []).append(truth[CIFAR10.encode(path)])
        return float(np.mean([np.std(group) for group in groups.values() if len(group) > 1]))

    assert spread(CIFAR10.canonical) == pytest.approx(0.168, abs=5e-4)
    assert spread(CIFAR10.published_key) == pytest.approx(0.175, abs=5e-4)


def test_choices_are_those_of_the_paper() -> None:
    cell = SearchCell(4, NormPolicy(), [(1, 2, 3, 4)])
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(cell.operation(0, 1)(x), x)
    for choice, kernel in ((2, 1), (3, 3)):
        operation = cell.operation(0, choice)
        relu, conv, norm = (module for module in operation.modules() if not isinstance(module, nn.Sequential))
        assert isinstance(conv, nn.Conv2d)
        assert conv.kernel_size == (kernel, kernel)
        assert torch.equal(operation(x), norm(conv(relu(x))))
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    ones = nn.functional.pad(torch.ones_like(x), (1, 1, 1, 1))
    mean = nn.functional.avg_pool2d(padded, 3, 1) / nn.functional.avg_pool2d(ones, 3, 1)
    torch.testing.assert_close(cell.operation(0, 4)(x), mean)


def test_the_head_is_that_of_the_paper() -> None:
    network = NASBench201Network(SMALL, (3,) * 6, NormPolicy())
    norm, *_, linear = (module for module in network.layers[-1].modules() if not list(module.children()))
    x = torch.randn(4, 16, 3, 3)
    expected = linear(norm(x).relu().mean((2, 3)))
    torch.testing.assert_close(network.layers[-1](x), expected)


def test_a_cell_without_connection_gives_constant_logits() -> None:
    supernet = SMALL.build_supernet()
    logits = supernet(images(SMALL, 4), (3, 3, 3, 0, 0, 0))
    assert torch.equal(logits, logits[:1].expand(4, -1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            FAMOUS.replace("avg_pool_3x3", "max_pool"),
            "has 'max_pool' on the edge from node 1 to node 2: valid are none, ",
        ),
        (FAMOUS.replace("~2", "~1"), "does not name the six edges"),
        (FAMOUS[:40], "does not name the six edges"),
        (FAMOUS.replace("|+|", "+"), "has bars out of place: valid is"),
        (FAMOUS.replace("nor_conv_3x3~0|+", "nor_conv_3x3~0||+"), "has bars out of place"),
    ],
)
def test_wrong_architectures_are_refused(text: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        CIFAR10.decode(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels is 0: valid are numbers from 1"),
        ({"cells": 0}, "cells is 0"),
        ({"image_size": 3}, "halving it twice needs at least 4 pixels"),
    ],
)
def test_impossible_spaces_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(NASError, match=message):
        NASBench201(**arguments)


def test_mixtures_are_weighted_sums() -> None:
    cell = SearchCell(4, NormPolicy(), [(1, 2, 3, 4)] * 6)
    x = torch.randn(2, 4, 5, 5)
    weights = [torch.zeros(5) for _ in EDGES]
    weights[3] = torch.tensor([0.3, 0.2, 0.0, 0.5, 0.0])
    expected = 0.2 * x + 0.5 * cell.operation(3, 3)(x)
    torch.testing.assert_close(cell.mixture(x, weights, [Edge(3, 1), Edge(3, 3)]), expected)


@pytest.mark.slow
def test_every_different_cell_runs_once_and_the_first_one_shares_its_edges() -> None:
    """Of 15,625 paths 9,445 run; their first cells run 444 operations on edges instead of 49,796."""
    supernet = NASBench201(channels=1, cells=1, in_channels=1, image_size=4).build_supernet().eval()
    assert isinstance(supernet, NASBench201Supernet)
    first, last = [], []
    for edge, operations in enumerate(supernet.cells[0].edges):
        for module in operations.children():
            module.register_forward_hook(lambda *_, edge=edge: first.append(edge))
    supernet.layers[-1].register_forward_hook(lambda *_: last.append(1))
    x = torch.randn(2, 1, 4, 4)
    with torch.no_grad():
        outputs = dict(supernet.forward_each(x, list(CIFAR10)))
        assert len(last) == 9445
        assert len(first) == 444
        assert sum(map(len, set(map(live_edges, CIFAR10)))) == 49_796
        assert sorted(outputs) == list(range(15_625))
        for position in range(0, 15_625, 97):
            assert torch.equal(outputs[position], supernet(x, CIFAR10[position]))
