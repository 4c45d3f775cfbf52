import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.spaces import (
    ListedSpace,
    NASBench201,
    NASBenchMacro,
    Pooling,
    RestrictedSpace,
    SearchSpace,
)
from lightning_nas.spaces.base import Choices

TOY = Toy(layers=4)
ALLOWED: Choices = ((0, 2), (1,), (0, 1, 2), (1, 2))
RESTRICTED = RestrictedSpace(TOY, ALLOWED)
LISTED = ListedSpace(TOY, ((2, 2, 2, 2), (0, 1, 0, 2), (0, 1, 2, 2), (1, 1, 1, 1)))

allowed_choices = st.tuples(*[st.sets(st.integers(0, 2), min_size=1).map(lambda s: tuple(sorted(s)))] * 4)


@given(allowed_choices)
def test_a_restriction_holds_exactly_the_paths_of_kept_choices(allowed: Choices) -> None:
    space = RestrictedSpace(TOY, allowed)
    expected = [path for path in TOY if all(c in kept for c, kept in zip(path, allowed, strict=True))]
    assert list(space) == expected
    assert [space[i] for i in range(space.size)] == expected
    assert [space.index(path) for path in expected] == list(range(len(expected)))
    assert [path for path in TOY if space.is_valid(path)] == expected


def test_restrictions_of_a_decision_split_the_space() -> None:
    parts = [RestrictedSpace(TOY, (*TOY.choices[:2], (choice,), *TOY.choices[3:])) for choice in range(3)]
    paths = list(itertools.chain.from_iterable(parts))
    assert sum(part.size for part in parts) == TOY.size
    assert sorted(paths) == list(TOY)


def test_restrictions_nest() -> None:
    inner = RestrictedSpace(RESTRICTED, ((2,), (1,), (0, 1), (1, 2)))
    assert list(inner) == [(2, 1, i, j) for i in (0, 1) for j in (1, 2)]
    assert inner.whole is TOY
    of_list = RestrictedSpace(LISTED, ((0,), (1,), (0, 2), (2,)))
    assert list(of_list) == [(0, 1, 0, 2), (0, 1, 2, 2)]
    rng = np.random.default_rng(0)
    assert {of_list.sample(rng) for _ in range(50)} == set(of_list)
    assert {of_list.mutate((0, 1, 0, 2), rng, 0.5) for _ in range(50)} == set(of_list)
    assert list(of_list.neighbours((0, 1, 0, 2))) == [(0, 1, 2, 2)]


@pytest.mark.parametrize("space", [RESTRICTED, LISTED])
def test_samples_are_uniform_over_the_part(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount(
        [space.index(space.sample(rng)) for _ in range(500 * space.size)], minlength=space.size
    )
    # Chi-square with 11 degrees of freedom stays below 31.3 in 999 of 1000 draws.
    assert ((counts - 500) ** 2 / 500).sum() < 31.3


def test_a_list_keeps_its_order() -> None:
    assert list(LISTED) == [(2, 2, 2, 2), (0, 1, 0, 2), (0, 1, 2, 2), (1, 1, 1, 1)]
    assert LISTED.index((0, 1, 2, 2)) == 2
    assert LISTED.choices == ((0, 1, 2), (1, 2), (0, 1, 2), (1, 2))
    assert list(LISTED.neighbours((0, 1, 0, 2))) == [(0, 1, 2, 2)]
    assert LISTED.count((0, 1)) == 2
    with pytest.raises(IndexError):
        LISTED[4]


def test_mutants_of_a_list_are_the_nearest_listed_paths() -> None:
    rng = np.random.default_rng(0)
    mutants = {LISTED.mutate((0, 1, 0, 2), rng, 0.5) for _ in range(300)}
    assert mutants == set(LISTED)


def test_a_part_keeps_text_cost_and_weights_of_the_whole() -> None:
    space = RestrictedSpace(
        NASBenchMacro(channels=(4, 4, 6), layers=(1, 3), head_channels=8), ((1,), (2,), (0, 2), (0, 2))
    )
    path = space.decode("1202")
    assert (space.encode(path), space.cost(path)) == ("1202", space.whole.cost(path))
    assert space.canonical((1, 2, 0, 2)) == space.canonical((1, 2, 2, 0))
    assert space.class_size((1, 2, 0, 2)) == 2
    assert space.features(path) == path
    assert space.outline(path) == space.whole.outline(path)
    torch.manual_seed(0)
    part = space.adapt(num_classes=3, image_size=8).build_supernet()
    torch.manual_seed(0)
    whole = space.whole.adapt(num_classes=3, image_size=8).build_supernet()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(part(x, path), whole(x, path))


@pytest.mark.parametrize("space", [RESTRICTED, LISTED])
def test_adapting_a_part_adapts_the_whole(space: SearchSpace) -> None:
    other = space.adapt(num_classes=7, image_size=4)
    assert (other.num_classes, other.image_size, other.whole.image_size) == (7, 4, 4)
    assert list(other) == list(space)
    assert type(other) is type(space)


def test_equal_parts_are_equal() -> None:
    assert RestrictedSpace(TOY, ([2, 0], [1], [0, 1, 2, 2], [1, 2])) == RESTRICTED  # type: ignore[arg-type]
    assert RestrictedSpace(Toy(layers=4, width=9), ALLOWED) != RESTRICTED


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        (((0,), (), (0,), (0,)), "leaves decision 1 without a choice: valid are some of (0, 1, 2)"),
        (((0,), (0,), (0, 3), (0,)), "has choice 3 at decision 2: valid are some of (0, 1, 2)"),
        (((0,),) * 3, "has 3 lists: valid are 4, one per decision"),
    ],
)
def test_impossible_restrictions_are_refused(allowed: Choices, message: str) -> None:
    with pytest.raises(NASError) as error:
        RestrictedSpace(TOY, allowed)
    assert message in str(error.value)


def test_a_restriction_without_paths_is_refused() -> None:
    with pytest.raises(NASError, match="no path takes only these choices"):
        RestrictedSpace(LISTED, ((2,), (1,), (0,), (1,)))


def test_a_removed_architecture_is_refused_by_name() -> None:
    with pytest.raises(NASError, match="architecture '1111' is in Toy, but not in the part of it"):
        RESTRICTED.decode("1111")
    for space in (RESTRICTED, LISTED):
        for refusing in (space.encode, space.cost, space.index, space.build_standalone):
            with pytest.raises(NASError, match="path"):
                refusing((1, 0, 0, 0))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), "ListedSpace.paths is empty"),
        (((0, 0, 0, 9),), r"path \(0, 0, 0, 9\) is not in Toy"),
        (((0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 0, 1)), "has '0001' more than once"),
        ("nowhere.txt", "there is no such file"),
    ],
)
def test_impossible_lists_are_refused(paths: tuple[tuple[int, ...], ...] | str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        ListedSpace(TOY, paths)


def test_a_list_comes_from_a_text_file_or_a_table(tmp_path: Path) -> None:
    (tmp_path / "archs.txt").write_text("0110\n\n2222\n")
    (tmp_path / "table.csv").write_text('accuracy,arch\n90.1,"0110"\n91.2,2222\n')
    expected = ListedSpace(TOY, ((0, 1, 1, 0), (2, 2, 2, 2)))
    for name in ("archs.txt", "table.csv"):
        assert ListedSpace(TOY, str(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "0110\n\n01\n", "a.txt line 3: architecture '01' is not in the toy space"),
        ("a.csv", "arch,x\n0110,1\n0119,2\n", "a.csv line 3: architecture '0119'"),
        ("b.csv", "name\n0110\n", "b.csv has no column named arch"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(NASError, match=message):
        ListedSpace(TOY, str(tmp_path / name))


def test_the_best_of_a_ranking_is_a_space() -> None:
    space = NASBench201()
    best = sorted(itertools.islice(space, 200), key=lambda path: space.cost(path).macs)[-10:]
    pruned = ListedSpace(space, tuple(best))
    assert pruned.size == 10
    assert pruned.sample(np.random.default_rng(0)) in best


def test_poolings_can_be_restricted() -> None:
    space = RestrictedSpace(Pooling(), (tuple(range(0, 36, 5)),))
    assert [space.index(path) for path in space] == list(range(8))
    assert space[7] == (35,)
