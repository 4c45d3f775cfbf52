"""What must hold in every space: tried on all small ones in ``configs/spaces``."""

import itertools
from collections import Counter
from collections.abc import Hashable

import numpy as np
import pytest
import torch
from space_checks import (
    CONFIGS,
    NORMS,
    check_extracted_networks,
    images,
    measured_cost,
    small_space,
    some_paths,
)
from torch import Tensor
from torch.nn import Parameter

from lightning_nas.errors import NASError
from lightning_nas.spaces import (
    Cell,
    CellSupernet,
    Chain,
    ChainSupernet,
    ListedSpace,
    NASBench201,
    NormPolicy,
    Path,
    RestrictedSpace,
    SearchSpace,
)
from lightning_nas.spaces.nasbench201_graph import OPERATIONS, live_edges

SMALL = {file.stem.removesuffix("_small"): small_space(file) for file in sorted(CONFIGS.glob("*_small.yaml"))}
SUPERNETS = {name: space.build_supernet() for name, space in SMALL.items()}


@pytest.fixture(params=sorted(SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def space(name: str) -> SearchSpace:
    return SMALL[name]


def numbers(space: SearchSpace, count: int) -> list[int]:
    """First, last and random path numbers."""
    rng = np.random.default_rng(0)
    return sorted({0, space.size - 1, *(space.index(space.sample(rng)) for _ in range(count))})


def test_there_is_a_published_size_of_every_small_one(name: str) -> None:
    assert (CONFIGS / f"{name}.yaml").is_file()


def test_index_and_getitem_are_inverse(space: SearchSpace) -> None:
    for number in numbers(space, 30):
        path = space[number]
        assert space.is_valid(path)
        assert all(type(choice) is int for choice in path)
        assert space.index(path) == number
    with pytest.raises(IndexError):
        space[space.size]


def test_enumeration_is_lazy_and_ordered(space: SearchSpace) -> None:
    first = list(itertools.islice(space, 40))
    assert first == [space[number] for number in range(min(40, space.size))]
    assert first == sorted(first)
    if space.size <= 10_000:
        assert len(set(space)) == space.size


def test_samples_are_valid_and_reach_every_choice(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(1500)]
    assert all(space.is_valid(path) for path in drawn)
    for decision, choices in enumerate(space.choices):
        assert {path[decision] for path in drawn} == set(choices)


def test_text_and_path_are_inverse(space: SearchSpace) -> None:
    paths = some_paths(space, 50)
    texts = [space.encode(path) for path in paths]
    assert [space.decode(text) for text in texts] == paths
    assert len(set(texts)) == len(paths)


@pytest.mark.parametrize("text", ["", "?", "0123456789" * 9, "|none~0|", "²"])
def test_other_texts_are_refused(space: SearchSpace, text: str) -> None:
    with pytest.raises(NASError):
        space.decode(text)


def test_paths_of_other_spaces_are_refused(space: SearchSpace) -> None:
    for path in ((), (0,) * 99, (-1, *space[0][1:]), (10**6, *space[0][1:])):
        assert not space.is_valid(path)
        for refusing in (space.encode, space.cost, space.build_standalone, space.index):
            with pytest.raises(NASError, match="is not in"):
                refusing(path)


def test_neighbours_are_the_valid_paths_one_decision_away(space: SearchSpace) -> None:
    for path in some_paths(space, 5):
        neighbours = list(space.neighbours(path))
        assert len(neighbours) == len(set(neighbours))
        assert path not in neighbours
        assert all(space.is_valid(other) for other in neighbours)
        if space.is_product:
            assert len(neighbours) == sum(space.num_choices) - len(space.num_choices)
            assert all(sum(a != b for a, b in zip(path, other, strict=True)) == 1 for other in neighbours)


def test_mutants_and_children_are_valid_and_repeatable(space: SearchSpace) -> None:
    first, second, *_ = some_paths(space, 20)[::-7]
    children = []
    for _ in range(2):
        rng = np.random.default_rng(1)
        children.append([space.mutate(first, rng, 0.5) for _ in range(50)])
        children.append([space.crossover(first, second, rng) for _ in range(50)])
    assert children[:2] == children[2:]
    assert all(space.is_valid(child) for child in children[0] + children[1])
    assert len(set(children[0])) > 5
    assert space.mutate(first, np.random.default_rng(0), probability=0) == first
    assert space.crossover(first, first, np.random.default_rng(0)) == first
    if space.is_product:
        assert all(
            choice in pair
            for child in children[1]
            for choice, *pair in zip(child, first, second, strict=True)
        )


def test_class_sizes_count_isomorphic_paths(space: SearchSpace) -> None:
    paths = some_paths(space, 30)
    if space.size > 20_000:
        for path in paths:
            alike = [
                other for other in space.neighbours(path) if space.canonical(other) == space.canonical(path)
            ]
            assert space.class_size(path) > len(alike)
        return
    classes = Counter(map(space.canonical, space))
    assert [space.class_size(path) for path in paths[:9]] == [classes[space.canonical(p)] for p in paths[:9]]


@pytest.mark.parametrize("norm", NORMS, ids=["shared", "standalone"])
def test_paths_of_one_functional_key_compute_the_same(space: SearchSpace, norm: NormPolicy) -> None:
    supernet, x = space.build_supernet(norm=norm), images(space, 4)
    paths = some_paths(space, 30)
    paths += [other for path in paths[::10] for other in itertools.islice(space.neighbours(path), 10)]
    for path in paths[::3]:
        supernet(images(space, 4), path)  # moves running statistics, of every layer in another way
    supernet.eval()
    keys: dict[Hashable, Tensor] = {}
    with torch.no_grad():
        for path in dict.fromkeys(paths):
            logits = supernet(x, path)
            assert torch.equal(keys.setdefault(space.functional_key(path), logits), logits)
    assert len({tuple(logits.flatten().tolist()) for logits in keys.values()}) == len(keys)


def test_description_rebuilds_the_space(space: SearchSpace) -> None:
    assert SearchSpace.from_description(space.describe()) == space
    assert hash(SearchSpace.from_description(space.describe())) == hash(space)


def runs_whole(space: SearchSpace, path: Path) -> bool:
    """Whether all layers of ``path`` run: the cost of NAS-Bench-201 counts dead edges, as its table does."""
    if not isinstance(space, NASBench201):
        return True
    return len(live_edges(path)) == sum(OPERATIONS[choice] != "none" for choice in path)


def test_cost_is_that_of_the_network(space: SearchSpace) -> None:
    for path in [path for path in some_paths(space, 40) if runs_whole(space, path)][:12]:
        assert space.cost(path) == measured_cost(space.build_standalone(path), images(space)), path


def test_cost_follows_the_data(space: SearchSpace) -> None:
    other = space.adapt(num_classes=7, in_channels=2, image_size=16)
    for path in [path for path in some_paths(other, 20) if runs_whole(other, path)][:3]:
        assert other.cost(path) == measured_cost(other.build_standalone(path), images(other))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", NORMS, ids=["shared", "standalone"])
def test_extracted_network_equals_its_path_bitwise(
    space: SearchSpace, training: bool, norm: NormPolicy
) -> None:
    check_extracted_networks(space, some_paths(space, 55), norm, training, images(space, 4))


def test_a_path_trains_exactly_its_weights(name: str) -> None:
    supernet, space = SUPERNETS[name], SMALL[name]
    for path in some_paths(space, 12):
        supernet.zero_grad()
        supernet(images(space), path).sum().backward()
        used = {name for name, p in supernet.named_parameters() if p.grad is not None}
        ids = {id(p) for p in supernet.path_parameters(path)}
        assert {name for name, p in supernet.named_parameters() if id(p) in ids} == used
    supernet.zero_grad()


def test_what_a_path_uses_is_shared_or_belongs_to_its_choices(name: str) -> None:
    """A gradient outside of the slices that a path's choices hold can only be one of weights without owner."""
    supernet, space = SUPERNETS[name], SMALL[name]
    for path in some_paths(space, 6):
        supernet.zero_grad()
        supernet(images(space), path).sum().backward()
        for decision, choice in enumerate(path):
            held: dict[Parameter, Tensor] = {}
            governed: dict[Parameter, Tensor] = {}
            for other in space.choices[decision]:
                for part in supernet.choice_parameters(decision, other):
                    mask = governed.setdefault(
                        part.parameter, torch.zeros_like(part.parameter, dtype=torch.bool)
                    )
                    mask[part.index] = True
                    if other == choice:
                        mask = held.setdefault(part.parameter, torch.zeros_like(mask))
                        mask[part.index] = True
            for parameter, mask in governed.items():
                outside = mask & ~held.get(parameter, torch.zeros_like(mask))
                assert parameter.grad is None or not parameter.grad[outside].any()
    supernet.zero_grad()


def test_shared_prefixes_change_no_bit(name: str) -> None:
    supernet, space = SUPERNETS[name], SMALL[name]
    paths, x = some_paths(space, 12), images(space, 4)
    outputs = dict(supernet.forward_each(x, paths))
    assert sorted(outputs) == list(range(len(paths)))
    assert all(torch.equal(outputs[i], supernet(x, path)) for i, path in enumerate(paths))


def test_one_hot_mixtures_are_paths(name: str) -> None:
    supernet, space = SUPERNETS[name], SMALL[name]
    if not isinstance(supernet, CellSupernet):
        assert isinstance(supernet, ChainSupernet)
        return
    for path in some_paths(space, 6):
        weights = [torch.eye(number)[choice] for number, choice in zip(space.num_choices, path, strict=True)]
        x = images(space, 4)
        torch.testing.assert_close(supernet.forward_mixture(x, weights), supernet(x, path))


def test_mixtures_pass_gradients_to_their_weights(name: str) -> None:
    supernet, space = SUPERNETS[name], SMALL[name]
    if isinstance(supernet, CellSupernet):
        weights = [torch.full((number,), 1 / number, requires_grad=True) for number in space.num_choices]
        supernet.forward_mixture(images(space, 4), weights).square().sum().backward()
        assert all(w.grad is not None and w.grad.isfinite().all() for w in weights)
        supernet.zero_grad()


def test_choices_have_names(space: SearchSpace) -> None:
    assert len(space.choice_names) == len(space.num_choices)
    for names, number in zip(space.choice_names, space.num_choices, strict=True):
        assert names is None or len(set(names)) == number


def test_outline_is_plain(space: SearchSpace) -> None:
    for path in some_paths(space, 5):
        outline = space.outline(path)
        if isinstance(outline, Chain):
            assert len(outline.titles) == len(outline.rows)
            assert all(type(label) is str for row in outline.rows for label in row)
        else:
            assert all(isinstance(cell, Cell) for cell in outline)
            assert all(
                source < target < len(cell.nodes) and type(label) is str
                for cell in outline
                for source, target, label in cell.edges
            )


def test_restrictions_and_lists_are_spaces(space: SearchSpace) -> None:
    allowed = tuple(choices[: max(1, len(choices) - 1)] for choices in space.choices)
    restricted = RestrictedSpace(space, allowed)
    listed = ListedSpace(space, tuple(some_paths(space, 9)))
    nested = RestrictedSpace(listed, listed.choices)
    rng = np.random.default_rng(0)
    for part in (restricted, listed, nested):
        assert 0 < part.size <= space.size
        assert SearchSpace.from_description(part.describe()) == part
        for path in some_paths(part, 10):
            assert space.is_valid(path)
            assert part[part.index(path)] == path
            assert part.decode(part.encode(path)) == path
            assert part.cost(path) == space.cost(path)
            assert part.is_valid(part.mutate(path, rng, 0.5))
            neighbours = list(part.neighbours(path))
            assert all(part.is_valid(other) for other in neighbours)
            assert len(set(neighbours)) == len(neighbours)
            assert set(neighbours) <= set(space.neighbours(path))
    supernet = restricted.build_supernet()
    x = images(space, 4)
    path = restricted.sample(rng)
    assert torch.equal(supernet(x, path), supernet.extract(path)(x))
