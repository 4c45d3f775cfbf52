import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import DARTS, NormPolicy, Path
from lightning_nas.spaces.darts_graph import EDGES, NODES, OPERATIONS, graphs_of
from lightning_nas.spaces.darts_networks import DARTSSupernet
from lightning_nas.spaces.operations import SHARED

PUBLISHED = DARTS()
SMALL = DARTS(channels=2, cells=3, in_channels=1, image_size=8)

# Released code, cnn/genotypes.py.
DARTS_V1 = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], "
    "reduce_concat=[2, 3, 4, 5])"
)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)
CELL = (0, 3, 4, 1, 2, 0, 5, 6, 1, 7, 2, 5)  # a cell with all operations


def some_paths(number: int) -> list[Path]:
    rng = np.random.default_rng(0)
    return [SMALL.sample(rng) for _ in range(number)]


def cells_of(network: Any) -> list[Any]:
    return list(network.cells)


@pytest.mark.parametrize(("genotype", "params"), [(DARTS_V1, 3_169_414), (DARTS_V2, 3_349_342)])
def test_published_parameters_of_the_evaluation_network(genotype: str, params: int) -> None:
    space = DARTS(channels=36, cells=20)
    path = space.decode(genotype)
    assert space.cost(path).params == params
    assert sum(p.numel() for p in space.build_standalone(path).parameters()) == params


def test_published_supernet_parameters() -> None:
    """The released search network keeps the scale and shift of its stem's batch-norm."""
    stem = 2 * PUBLISHED.stem_multiplier * PUBLISHED.channels
    assert sum(p.numel() for p in PUBLISHED.build_supernet().parameters()) + stem == 1_930_618


def test_published_size() -> None:
    assert PUBLISHED.size == 1_037_664_180**2
    assert len(PUBLISHED.num_choices) == 24
    assert [shape.reduction for shape in PUBLISHED.shapes] == [i in (2, 5) for i in range(8)]
    assert [i for i, shape in enumerate(DARTS(cells=20).shapes) if shape.reduction] == [6, 13]


def test_genotypes_are_the_official_text() -> None:
    path = PUBLISHED.decode(DARTS_V2)
    assert path[:3] == (0, 3, 3)  # node 2: both inputs, sep_conv_3x3 twice
    assert path[9:12] == (1, 2, 5)  # node 5: skip_connect of state 0, dil_conv_3x3 of state 2
    assert PUBLISHED.encode(path) == DARTS_V2.replace(
        "('sep_conv_3x3', 1), ('skip_connect', 0)", "('skip_connect', 0), ('sep_conv_3x3', 1)"
    ).replace("('skip_connect', 2), ('max_pool_3x3', 1)", "('max_pool_3x3', 1), ('skip_connect', 2)")


def test_genotypes_may_be_written_in_other_ways() -> None:
    path = PUBLISHED.decode(DARTS_V1)
    swapped = DARTS_V1.replace(
        "[('sep_conv_3x3', 1), ('sep_conv_3x3', 0)", "[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)"
    )
    for text in (
        swapped,
        DARTS_V1.replace("[2, 3, 4, 5]", "range(2, 6)"),
        DARTS_V1.replace(" ", "\n"),
        DARTS_V1.replace("'", '"'),
    ):
        assert text != DARTS_V1
        assert PUBLISHED.decode(text) == path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "('skip_connect', 2)]",
            "('none', 2)]",
            r"'none',2.* at node 5 of normal: valid operations are max_pool",
        ),
        (
            "('skip_connect', 2)]",
            "('skip_connect', 5)]",
            "at node 5 of normal: valid are two different inputs from 0 to 4",
        ),
        (
            "('avg_pool_3x3', 0)]",
            "('avg_pool_3x3', 2)]",
            "at node 5 of reduce: valid are two different inputs",
        ),
        ("('avg_pool_3x3', 0)]", "(__import__('os').getcwd(), 0)]", "reduce"),
        (", ('avg_pool_3x3', 0)]", "]", "reduce=.* valid are 8 entries"),
        (
            "reduce_concat=[2, 3, 4, 5]",
            "reduce_concat=[4, 5]",
            r"reduce_concat=\[4,5\]: valid is \[2, 3, 4, 5\]",
        ),
        ("Genotype(", "Genotyp(", "is not of the form"),
    ],
)
def test_wrong_genotypes_are_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        PUBLISHED.decode(DARTS_V1.replace(old, new))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("channels", 0, "channels is 0: valid are numbers from 1"),
        ("cells", 2, "cells is 2: valid are numbers from 3"),
        ("image_size", 30, "image_size is 30: two reduction cells halve it, so valid are multiples of 4"),
        ("image_size", 0, "valid are multiples of 4"),
    ],
)
def test_impossible_spaces_are_refused(field: str, value: int, message: str) -> None:
    with pytest.raises(NASError, match=message):
        DARTS(**{field: value})


# -------------------------------------------------------------------------------------------------------- networks


def slow_cell(cell: Any, s0: Tensor, s1: Tensor, genotype: list[tuple[str, int]]) -> Tensor:
    """A cell as the released code runs it: entries of the genotype, two per node."""
    states = [cell.preprocessing[0](s0), cell.preprocessing[1](s1)]
    for i in range(4):
        pair = [
            cell.operations[f"{source}_to_{i + 2}_{name}"](states[source])
            for name, source in genotype[2 * i : 2 * i + 2]
        ]
        states.append(pair[0] + pair[1])
    return torch.cat(states[2:], dim=1)


def test_supernet_runs_the_genotype() -> None:
    supernet = DARTSSupernet(SMALL, SHARED)
    path = SMALL.decode(DARTS_V2)
    scope = {"Genotype": dict}
    genotype = eval(DARTS_V2, scope)
    x = torch.randn(4, 1, 8, 8)
    s0 = s1 = supernet.stem(x)
    for cell in cells_of(supernet):
        s0, s1 = s1, slow_cell(cell, s0, s1, genotype["reduce" if cell.reduction else "normal"])
    torch.testing.assert_close(supernet(x, path), supernet.head(s1))


def test_operations_are_those_of_the_released_code() -> None:
    supernet = PUBLISHED.build_supernet()
    normal, reduction = cells_of(supernet)[1], cells_of(supernet)[2]
    for cell, source, stride in ((normal, 0, 1), (reduction, 1, 2), (reduction, 2, 1)):
        operations = [cell.operation(source, 4, operation) for operation in range(7)]
        maximum, average, skip, *filters = operations
        for pool in (maximum, average):
            assert (pool[0].kernel_size, pool[0].stride, pool[0].padding) == (3, stride, 1)
            assert not pool[1].affine
        assert not average[0].count_include_pad
        assert type(skip).__name__ == ("FactorizedReduction" if stride == 2 else "Identity")
        for operation, kernel, dilation, strides in zip(
            filters, (3, 5, 3, 5), (1, 1, 2, 2), ([stride, 1], [stride, 1], [stride], [stride]), strict=True
        ):
            depthwise = [m for m in operation.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
            assert [m.stride[0] for m in depthwise] == strides
            assert {(m.kernel_size[0], m.dilation[0]) for m in depthwise} == {(kernel, dilation)}
            assert isinstance(operation[0][0], nn.ReLU)
    x = torch.randn(2, cells_of(supernet)[2].operation(0, 2, 3)[0][1].in_channels, 8, 8)
    assert all(reduction.operation(0, 2, operation)(x).shape[-1] == 4 for operation in range(7))


def test_factorized_reduction_reads_every_other_pixel_twice() -> None:
    cell = cells_of(DARTSSupernet(SMALL, SHARED))[1]
    skip = cell.operation(0, 2, 2)
    x = torch.randn(2, 4, 6, 6)
    first, second = skip.halves
    y = torch.cat([first(x.relu()), second(x.relu()[:, :, 1:, 1:])], dim=1)
    assert torch.equal(skip(x), skip.norm(y))


def test_the_cell_after_a_reduction_halves_the_one_before() -> None:
    names = [
        [type(part).__name__ for part in cell.preprocessing] for cell in cells_of(PUBLISHED.build_supernet())
    ]
    halving = ["FactorizedReduction" if i in (3, 6) else "Sequential" for i in range(8)]
    assert names == [[name, "Sequential"] for name in halving]


def test_poolings_have_no_scale_even_alone() -> None:
    network = SMALL.build_standalone(SMALL.decode(DARTS_V1))
    pools = [m for name, m in network.named_modules() if name.endswith(("pool_3x3.1",))]
    assert len(pools) == 2 * 5
    assert not any(pool.affine for pool in pools)
    assert all(pool.running_mean is not None for pool in pools)


def test_a_path_trains_its_edges_and_what_all_share() -> None:
    supernet = DARTSSupernet(SMALL, SHARED)
    (path,) = some_paths(1)
    ids = {id(parameter) for parameter in supernet.path_parameters(path)}
    names = dict(supernet.named_parameters())
    used = {name for name, parameter in names.items() if id(parameter) in ids}
    edges = {name.split(".")[3] for name in used if ".operations." in name and name.startswith("cells.0.")}
    normal = SMALL.encode(path).split("normal_concat")[0]
    filters = sum(normal.count(name) for name in OPERATIONS[3:])
    assert len(edges) == filters
    assert {name for name in names if ".operations." not in name} <= used


# -------------------------------------------------------------------------------------------------------- mixtures


def test_mixture_is_the_weighted_sum_of_its_definition() -> None:
    """Node by node, pair by pair, without combining coefficients."""
    torch.manual_seed(0)
    supernet = DARTSSupernet(SMALL, SHARED)
    weights = [torch.rand(number) for number in SMALL.num_choices]
    x = torch.randn(3, 1, 8, 8)
    s0 = s1 = supernet.stem(x)
    for cell in cells_of(supernet):
        states = [cell.preprocessing[0](s0), cell.preprocessing[1](s1)]
        for node, start in zip(NODES, itertools.count(12 * cell.reduction, 3)):
            total = torch.zeros(())
            for weight, pair in zip(weights[start], itertools.combinations(range(node), 2), strict=True):
                for source, operations in zip(pair, weights[start + 1 : start + 3], strict=True):
                    for operation in range(7):
                        y = cell.operation(source, node, operation)(states[source])
                        total = total + weight * operations[operation] * y
            states.append(total)
        s0, s1 = s1, torch.cat(states[2:], dim=1)
    expected = supernet.head(s1)
    torch.testing.assert_close(supernet.forward_mixture(x, weights), expected, rtol=1e-4, atol=1e-4)


def count_calls(supernet: nn.Module) -> list[int]:
    calls: list[int] = []
    for cell in cells_of(supernet):
        for operation in cell.operations.values():
            operation.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_operations_of_a_mixture_run_once_and_those_of_weight_zero_never() -> None:
    supernet = DARTSSupernet(SMALL, SHARED)
    calls = count_calls(supernet)
    x = torch.randn(2, 1, 8, 8)
    weights = [torch.ones(number) for number in SMALL.num_choices]
    supernet.forward_mixture(x, weights)
    assert len(calls) == 3 * len(EDGES) * len(OPERATIONS)
    calls.clear()
    (path,) = some_paths(1)
    one_hot = [torch.eye(number)[choice] for number, choice in zip(SMALL.num_choices, path, strict=True)]
    supernet.forward_mixture(x, one_hot)
    assert len(calls) == 3 * 8


def test_edges_can_be_weighted_directly() -> None:
    supernet = DARTSSupernet(SMALL, SHARED)
    path = SMALL.decode(DARTS_V2)
    matrices = torch.zeros(2, len(EDGES), len(OPERATIONS))
    genotype = eval(DARTS_V2, {"Genotype": dict})
    for matrix, entries in zip(matrices, (genotype["normal"], genotype["reduce"]), strict=True):
        for i, (name, source) in enumerate(entries):
            matrix[EDGES.index((source, 2 + i // 2)), OPERATIONS.index(name)] = 1
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(supernet.forward_edges(x, *matrices), supernet(x, path))
    matrices[1, EDGES.index((0, 4))] = matrices[1, EDGES.index((2, 4))] = 0
    with pytest.raises(NASError, match="all weights into node 4 of the reduction cell are 0"):
        supernet.forward_edges(x, *matrices)


# --------------------------------------------------------------------------------------------- isomorphic paths


def renumbered(path: Path, order: tuple[int, ...]) -> Path:
    """The path whose genotype names the nodes of the normal cell in another order, written by hand."""
    normal = eval(SMALL.encode(path), {"Genotype": dict})["normal"]
    numbers = {0: 0, 1: 1} | {old: new for new, old in enumerate(order, 2)}
    entries = [
        (name, numbers[source]) for old in order for name, source in normal[2 * (old - 2) : 2 * (old - 2) + 2]
    ]
    text = SMALL.encode(path)
    return SMALL.decode(f"Genotype(normal={entries}" + text[text.index(", normal_concat") :])


def test_nodes_that_do_not_depend_on_each_other_change_places() -> None:
    free = (0, 3, 4, 0, 2, 3, 0, 0, 5, 9, 1, 2)  # nodes 2, 3 and 4 read 0 and 1, node 5 reads 3 and 4
    chain = (0, 3, 4, 2, 3, 4, 5, 3, 4, 9, 3, 4)  # every node reads the one before
    path = (*free, *chain)
    found = set()
    for order in itertools.permutations(NODES):
        try:
            found.add(renumbered(path, order))
        except NASError:
            continue  # an edge would point backward
    assert len(found) == 8
    assert {SMALL.canonical(other) for other in found} == {min(found)}
    assert SMALL.class_size(path) == 8
    assert SMALL.class_size((*chain, *chain)) == 1
    assert SMALL.class_size((*free, *free)) == 64


def test_isomorphic_cells_compute_the_same_up_to_the_order_of_channels() -> None:
    path = (0, 3, 4, 0, 2, 3, 0, 0, 5, 9, 1, 2, *CELL)
    order = (4, 2, 3, 5)
    other = renumbered(path, order)
    one, two = (cells_of(SMALL.build_standalone(p, norm=NormPolicy()))[0] for p in (path, other))
    numbers = {0: 0, 1: 1} | {old: new for new, old in enumerate(order, 2)}
    two.preprocessing.load_state_dict(one.preprocessing.state_dict())
    for name, operation in one.operations.items():
        source, _, node, kind = name.split("_", 3)
        key = f"{numbers[int(source)]}_to_{numbers[int(node)]}_{kind}"
        two.operations[key].load_state_dict(operation.state_dict())
    s0, s1 = torch.randn(2, 4, 6, 8, 8)
    blocks = one(s0, s1, graphs_of(path)[0]).chunk(4, dim=1)
    expected = torch.cat([blocks[old - 2] for old in order], dim=1)
    torch.testing.assert_close(two(s0, s1, graphs_of(other)[0]), expected)


def test_edges_without_weights_make_paths_equal() -> None:
    """Nodes 2 and 3 are both the sum of 0 and 1, so that node 4 may read either without weights."""
    twins = (0, 2, 2, 0, 2, 2)
    reads = {source: (pair, 2, 2) for source, pair in ((2, 1), (3, 2))}  # pairs (0, 2) and (0, 3)
    one, other = ((*twins, *reads[source], 0, 3, 3, *CELL) for source in (2, 3))
    assert SMALL.functional_key(one) == SMALL.functional_key(other)
    supernet, x = DARTSSupernet(SMALL, SHARED), torch.randn(2, 1, 8, 8)
    assert torch.equal(supernet(x, one), supernet(x, other))
    # Behind a pooling is a batch-norm of its own, which may keep statistics.
    one, other = ((*path[:8], 0, *path[9:]) for path in (one, other))
    assert SMALL.functional_key(one) != SMALL.functional_key(other)
    # In a reduction cell a skip of states 0 and 1 has weights of its own.
    one, other = ((*path[12:], *path[:12]) for path in (one, other))
    assert SMALL.functional_key(one) != SMALL.functional_key(other)
    assert not torch.equal(supernet(x, one), supernet(x, other))
