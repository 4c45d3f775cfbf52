import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import NASBench1Shot1, Path, RestrictedSpace
from lightning_nas.spaces.nasbench1shot1_graph import ADJACENCIES, OPERATIONS, module_hash
from lightning_nas.spaces.nasbench1shot1_networks import OneShotSupernet
from lightning_nas.spaces.operations import SHARED

PUBLISHED = NASBench1Shot1()
SMALL = NASBench1Shot1(channels=2, stacks=2, cells_per_stack=2, in_channels=1, image_size=8)
TEXT = "conv3x3-bn-relu(0)|maxpool3x3(1)|conv1x1-bn-relu(2)|conv3x3-bn-relu(0+3)|maxpool3x3(1+4)|output(0+5)"
PATH = (1, 2, 2, 6, 4, 0, 2, 1, 0, 2)

# The first entry of the tables of NAS-Bench-101; it is not in search space 3.
FIRST_HASH = "00005c142e6f48ac74fdcf73e3439874"
FIRST_MATRIX = [
    [0, 1, 0, 0, 1, 1, 0],
    [0, 0, 1, 0, 0, 0, 0],
    [0, 0, 0, 1, 0, 0, 1],
    [0, 0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0],
]
FIRST_OPERATIONS = [
    "input",
    "conv3x3-bn-relu",
    "maxpool3x3",
    "conv3x3-bn-relu",
    "conv3x3-bn-relu",
    "conv1x1-bn-relu",
    "output",
]


def some_paths(number: int) -> list[Path]:
    rng = np.random.default_rng(0)
    return [PUBLISHED.sample(rng) for _ in range(number)]


def cells_of(network: Any) -> list[Any]:
    return list(network.cells)


def parents_of(path: Path) -> list[tuple[int, ...]]:
    """Parents of nodes 1 to 5 and the output, read from the text."""
    parts = PUBLISHED.encode(path).split("|")
    return [tuple(map(int, part.rstrip(")").split("(")[1].split("+"))) for part in parts]


# ------------------------------------------------------------------------------------------------ which paths there are


def test_published_numbers_of_adjacencies() -> None:
    """The 445 of 5,400 are those in which a walk back from the output meets every node."""
    sets = [
        list(itertools.combinations(range(node), number))
        for node, number in ((2, 1), (3, 1), (4, 2), (5, 2), (6, 2))
    ]
    assert PUBLISHED.num_choices == (*map(len, sets), 3, 3, 3, 3, 3)
    everything = list(itertools.product(*map(range, map(len, sets))))
    assert len(everything) == 5400
    used = []
    for choices in everything:
        parents = [(), (0,), *(s[c] for s, c in zip(sets, choices, strict=True))]
        met, waiting = set(), [6]
        while waiting:
            node = waiting.pop()
            met.add(node)
            waiting += parents[node]
        if met >= {1, 2, 3, 4, 5}:
            used.append(choices)
    assert tuple(used) == ADJACENCIES
    assert len(used) == 445


def test_published_size_and_order() -> None:
    assert PUBLISHED.size == 108_135
    paths = list(PUBLISHED)
    assert paths == sorted(
        {(*row, *ops) for row in ADJACENCIES for ops in itertools.product(range(3), repeat=5)}
    )


def test_restrictions_count_what_they_keep() -> None:
    allowed = ((0, 1), (0, 2), (0, 1, 2), tuple(range(10)), (4, 8, 14), (0, 2), (1,), (0, 1), (2,), (0, 1, 2))
    restricted = RestrictedSpace(PUBLISHED, allowed)
    kept = [path for path in PUBLISHED if all(c in a for c, a in zip(path, allowed, strict=True))]
    assert 0 < len(kept) == restricted.size
    assert list(restricted) == kept


def test_published_number_of_isomorphism_classes() -> None:
    classes = Counter(map(PUBLISHED.canonical, PUBLISHED))
    assert len(classes) == 49_032
    assert all(PUBLISHED.canonical(key) == key for key in itertools.islice(classes, 0, None, 100))
    assert all(
        PUBLISHED.class_size(key) == size for key, size in itertools.islice(classes.items(), 0, None, 100)
    )


def test_classes_are_those_of_the_hash() -> None:
    one_hot = [(0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 0, 1, 0)]
    chosen = [(*row, *operations) for row in ADJACENCIES for operations in one_hot]
    canonical = {path: PUBLISHED.canonical(path) for path in chosen}
    hashes = {path: PUBLISHED.module_hash(path) for path in chosen}
    pairs = set(zip(canonical.values(), hashes.values(), strict=True))
    assert len(pairs) == len(set(canonical.values())) == len(set(hashes.values())) < len(chosen)


# ------------------------------------------------------------------------------------------ texts, matrices, hashes


def test_text_names_operations_and_parents() -> None:
    assert PUBLISHED.decode(TEXT) == PATH
    assert PUBLISHED.encode(PATH) == TEXT


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("|output(0+5)", "", "has 5 parts: valid are 6"),
        ("maxpool3x3(1)", "avgpool3x3(1)", r"'avgpool3x3\(1\)' at node 2: valid are conv3x3-bn-relu and"),
        ("maxpool3x3(1)", "maxpool3x3(2)", "at node 2: valid are .* of parents 0, 1"),
        ("(0+3)", "(3+0)", r"at node 4: .* of parents 0\+1, 0\+2"),
        ("conv3x3-bn-relu(0)|", "conv3x3-bn-relu(1)|", "at node 1: .* of parents 0, such as conv3x3"),
        ("output(0+5)", "output(5)", r"'output\(5\)' at output: valid are output of parents"),
        ("(1+4)", "(1+3)", "does not use node 4"),
    ],
)
def test_wrong_texts_are_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        PUBLISHED.decode(TEXT.replace(old, new))


def test_matrices_are_those_of_nas_bench_101() -> None:
    matrix, operations = PUBLISHED.to_matrix(PATH)
    assert matrix.tolist() == [
        [0, 1, 0, 0, 1, 0, 1],
        [0, 0, 1, 0, 0, 1, 0],
        [0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert operations[1:3] == ["conv3x3-bn-relu", "maxpool3x3"]
    for path in some_paths(200):
        assert PUBLISHED.from_matrix(*PUBLISHED.to_matrix(path)) == path


def test_matrices_may_order_the_nodes_in_another_way() -> None:
    moved = 0
    for path in some_paths(60):
        matrix, operations = PUBLISHED.to_matrix(path)
        for order in itertools.permutations(range(1, 6)):
            vertices = [0, *order, 6]
            other = matrix[np.ix_(vertices, vertices)]
            if np.tril(other).any():
                continue
            found = PUBLISHED.from_matrix(other, [operations[i] for i in vertices])
            assert PUBLISHED.canonical(found) == PUBLISHED.canonical(path)
            moved += other.sum(axis=0).tolist() != [0, 1, 1, 1, 2, 2, 2]
    assert moved > 20  # orders that are no path themselves


def test_hash_is_that_of_the_published_tables() -> None:
    assert module_hash(FIRST_MATRIX, FIRST_OPERATIONS) == FIRST_HASH
    assert module_hash(np.array(FIRST_MATRIX, dtype=bool), FIRST_OPERATIONS) == FIRST_HASH
    vertices = [0, 4, 1, 2, 3, 5, 6]
    other = np.array(FIRST_MATRIX)[np.ix_(vertices, vertices)]
    assert module_hash(other, [FIRST_OPERATIONS[i] for i in vertices]) == FIRST_HASH


def test_cells_outside_of_the_space_are_refused() -> None:
    with pytest.raises(NASError, match="not in search space 3"):
        PUBLISHED.from_matrix(FIRST_MATRIX, FIRST_OPERATIONS)
    with pytest.raises(NASError, match="has 3 vertices: valid are 7"):
        PUBLISHED.from_matrix([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", "maxpool3x3", "output"])


@pytest.mark.parametrize(
    ("matrix", "operations", "message"),
    [
        ([[0, 1], [1, 0]], ["input", "output"], "valid for 2 operations is an upper triangular matrix"),
        ([[0, 2], [0, 0]], ["input", "output"], "matrix of 0 and 1"),
        ([[0, 1], [0, 0]], ["input", "maxpool3x3", "output"], "3 x 3"),
        ([[0, 1], [0, 0]], ["output", "input"], "input first and output last"),
        (FIRST_MATRIX, ["input", *["none"] * 5, "output"], "vertex 1 has operation 'none'"),
    ],
)
def test_matrices_of_no_cell_are_refused(
    matrix: list[list[int]], operations: list[str], message: str
) -> None:
    with pytest.raises(NASError, match=message):
        module_hash(matrix, operations)


@pytest.mark.parametrize("field", ["channels", "stacks", "cells_per_stack", "image_size"])
def test_impossible_spaces_are_refused(field: str) -> None:
    with pytest.raises(NASError, match=f"{field} is 0: valid are numbers from 1"):
        NASBench1Shot1(**{field: 0})


# --------------------------------------------------------------------------------------------------------- networks


def test_stacks_are_those_of_the_released_code() -> None:
    assert [(s.in_channels, s.channels, s.size, s.pools) for s in PUBLISHED.shapes] == [
        (16, 16, 32, False),
        (80, 16, 32, False),
        (80, 16, 32, False),
        (80, 32, 17, True),
        (160, 32, 17, False),
        (160, 32, 17, False),
        (160, 64, 9, True),
        (320, 64, 9, False),
        (320, 64, 9, False),
    ]
    x = torch.randn(1, 3, 32, 32)
    network = PUBLISHED.build_standalone(PATH).eval()
    sizes: list[int] = []
    for cell in cells_of(network):
        cell.register_forward_hook(lambda *arguments: sizes.append(arguments[2].shape[-1]))
    network(x)
    assert sizes == [shape.size for shape in PUBLISHED.shapes]


def slow_cell(cell: Any, x: Tensor, path: Path) -> Tensor:
    """A cell by its definition, from the text of the path."""
    *parents, output = parents_of(path)
    x = cell.pool(x)
    nodes = {0: x}
    for node, sources in enumerate(parents, 1):
        inputs = [cell.projections[str(node)](x) if source == 0 else nodes[source] for source in sources]
        nodes[node] = cell.operations[f"{node}_{OPERATIONS[path[4 + node]]}"](sum(inputs))
    blocks = [nodes[node] if node in output else 0 * nodes[node] for node in range(1, 6)]
    y = torch.cat(blocks, dim=1)
    return y + cell.projections["6"](x) if 0 in output else y


def test_supernet_runs_the_cell() -> None:
    supernet = OneShotSupernet(SMALL, SHARED)
    x = torch.randn(4, 1, 8, 8)
    for path in (PATH, *some_paths(5)):
        y = supernet.stem(x)
        for cell in cells_of(supernet):
            y = slow_cell(cell, y, path)
        torch.testing.assert_close(supernet(x, path), supernet.head(y))


def test_operations_are_those_of_nas_bench_101() -> None:
    cell = cells_of(PUBLISHED.build_supernet())[0]
    large, small, pool = (cell.operation(3, operation) for operation in range(3))
    for block, kernel in ((large, 3), (small, 1)):
        (conv, norm), relu = block
        assert (conv.kernel_size, conv.stride, conv.bias) == ((kernel, kernel), (1, 1), None)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(relu, nn.ReLU)
    assert (pool.kernel_size, pool.stride, pool.padding) == (3, 1, 1)
    head: Any = PUBLISHED.build_supernet().head
    assert [type(layer).__name__ for layer in head] == [
        "ReLU",
        "Sequential",
        "AdaptiveAvgPool2d",
        "Flatten",
        "Linear",
    ]


def test_projections_follow_the_parents() -> None:
    names = set(cells_of(SMALL.build_standalone(PATH))[0].projections)
    assert names == {"1", "4", "6"}
    supernet = OneShotSupernet(SMALL, SHARED)
    used = {id(p) for p in supernet.path_parameters(PATH)}
    projections = cells_of(supernet)[1].projections
    assert {n for n, m in projections.items() if all(id(p) in used for p in m.parameters())} == names


def test_poolings_of_equal_parents_make_paths_equal() -> None:
    """Nodes 2 and 3 both pool node 1; nodes 4 and 5 read one of them each."""
    one = (
        "conv1x1-bn-relu(0)|maxpool3x3(1)|maxpool3x3(1)|conv3x3-bn-relu(0+2)|conv3x3-bn-relu(0+3)|output(4+5)"
    )
    other = one.replace("(0+2)", "(0+X)").replace("(0+3)", "(0+2)").replace("X", "3")
    paths = [SMALL.decode(text) for text in (one, other)]
    assert SMALL.functional_key(paths[0]) == SMALL.functional_key(paths[1])
    supernet, x = OneShotSupernet(SMALL, SHARED), torch.randn(2, 1, 8, 8)
    assert torch.equal(supernet(x, paths[0]), supernet(x, paths[1]))


# --------------------------------------------------------------------------------------------------------- mixtures


def test_mixture_is_the_weighted_sum_of_its_definition() -> None:
    torch.manual_seed(0)
    supernet = OneShotSupernet(SMALL, SHARED)
    weights = [torch.rand(number) for number in SMALL.num_choices]
    x = torch.randn(3, 1, 8, 8)
    y = supernet.stem(x)
    for cell in cells_of(supernet):
        states = [cell.pool(y)]
        for node in range(1, 6):
            projected = [cell.projection(node)(states[0]), *states[1:]]
            if node == 1:
                total = projected[0]
            else:
                sets = itertools.combinations(range(node), 1 if node < 4 else 2)
                total = sum(
                    weight * sum(projected[i] for i in chosen)
                    for weight, chosen in zip(weights[node - 2], sets, strict=True)
                )
            states.append(sum(weights[4 + node][i] * cell.operation(node, i)(total) for i in range(3)))
        blocks = torch.zeros(())
        for weight, chosen in zip(weights[4], itertools.combinations(range(6), 2), strict=True):
            parts = [state if i in chosen else 0 * state for i, state in enumerate(states[1:], 1)]
            blocks = blocks + weight * torch.cat(parts, dim=1)
            if 0 in chosen:
                blocks = blocks + weight * cell.projection(6)(states[0])
        y = blocks
    torch.testing.assert_close(supernet.forward_mixture(x, weights), supernet.head(y), rtol=1e-4, atol=1e-4)


def test_what_has_weight_zero_does_not_run() -> None:
    supernet = OneShotSupernet(SMALL, SHARED)
    calls: list[int] = []
    for cell in cells_of(supernet):
        for module in (*cell.operations.values(), *cell.projections.values()):
            module.register_forward_hook(lambda *_: calls.append(1))
    weights = [torch.ones(number) for number in SMALL.num_choices]
    x = torch.randn(2, 1, 8, 8)
    supernet.forward_mixture(x, weights)
    assert len(calls) == 4 * (15 + 6)
    calls.clear()
    one_hot = [torch.eye(number)[choice] for number, choice in zip(SMALL.num_choices, PATH, strict=True)]
    supernet.forward_mixture(x, one_hot)
    assert len(calls) == 4 * (5 + 3)
    one_hot[7] = torch.zeros(3)
    with pytest.raises(NASError, match="all weights of decision 7 are 0"):
        supernet.forward_mixture(x, one_hot)


def test_stacks_begin_with_a_max_pool() -> None:
    supernet = NASBench1Shot1(
        channels=2, stacks=2, cells_per_stack=1, in_channels=1, image_size=8
    ).build_supernet()
    kept, pooled = (cell.pool for cell in supernet.cells)  # type: ignore[union-attr]
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(kept(x), x)
    assert torch.equal(pooled(x), torch.nn.functional.max_pool2d(x, 2, padding=1))


def test_the_canonical_path_is_the_smallest_of_its_class() -> None:
    space = NASBench1Shot1()
    rng = np.random.default_rng(0)
    for path in [space.sample(rng) for _ in range(200)]:
        assert space.canonical(path) <= path
        assert space.canonical(space.canonical(path)) == space.canonical(path)
