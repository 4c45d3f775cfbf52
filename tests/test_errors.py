import pytest

from lightning_nas.errors import NASError, require_at_least


def test_it_is_a_value_error_for_python_callers() -> None:
    assert issubclass(NASError, ValueError)


def test_smallest_values() -> None:
    require_at_least(1, batch_size=1)
    with pytest.raises(NASError, match=r"^batch_size is 0: valid are numbers from 1$"):
        require_at_least(1, batch_size=0)
    with pytest.raises(NASError, match=r"^algorithm\.budget is -1: valid are numbers from 0$"):
        require_at_least(0, "algorithm", generations=3, budget=-1)
