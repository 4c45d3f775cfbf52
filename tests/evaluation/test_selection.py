import pytest
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.evaluation import select_paths

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
