from pathlib import Path

import pytest
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.evaluation import select_paths
from lightning_nas.evaluation.selection import stratified_paths
from lightning_nas.spaces import NASBenchMacro

SPACE = Toy(layers=4)


def test_all_paths_in_order() -> None:
    assert select_paths(SPACE, "all") == tuple(SPACE)
    assert select_paths(SPACE, 1000) == tuple(SPACE)


def test_a_number_of_paths_is_drawn_without_repetition() -> None:
    chosen = select_paths(SPACE, 20, seed=1)
    assert len(set(chosen)) == 20
    assert list(chosen) == sorted(chosen, key=SPACE.index)
    assert chosen == select_paths(SPACE, 20, seed=1) != select_paths(SPACE, 20, seed=2)


def test_a_few_paths_of_a_space_without_end() -> None:
    assert len(select_paths(Toy(layers=100), 5)) == 5


def test_impossible_selections_are_refused() -> None:
    with pytest.raises(NASError, match=r"ranking\.paths is 'all', but the space has"):
        select_paths(Toy(layers=100), "all")
    with pytest.raises(NASError, match=r"ranking\.paths is 0"):
        select_paths(SPACE, 0)


def test_one_path_of_every_isomorphism_class() -> None:
    space = NASBenchMacro()
    chosen = select_paths(space, "classes")
    assert len(chosen) == len(set(map(space.canonical, chosen))) == 3969


def test_a_file_names_the_paths(tmp_path: Path) -> None:
    (tmp_path / "archs.txt").write_text("2101\n0000\n")
    assert select_paths(SPACE, str(tmp_path / "archs.txt")) == ((2, 1, 0, 1), (0, 0, 0, 0))
    (tmp_path / "empty.txt").write_text("\n")
    for name, message in (("none.txt", "there is no such file"), ("empty.txt", "is empty")):
        with pytest.raises(NASError, match=message):
            select_paths(SPACE, str(tmp_path / name))


def test_strata_cover_the_range_of_ground_truth() -> None:
    truth = {path: float(SPACE.index(path) ** 2) for path in SPACE}
    chosen = stratified_paths(truth, 9)
    assert [SPACE.index(path) // 9 for path in chosen] == list(range(9))
    assert chosen == stratified_paths(truth, 9) != stratified_paths(truth, 9, seed=1)
    assert set(stratified_paths(truth, 1000)) == set(SPACE)
    with pytest.raises(NASError, match="needs a number from 1"):
        stratified_paths(truth, 0)
