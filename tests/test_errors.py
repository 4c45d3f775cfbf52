from lightning_nas.errors import NASError


def test_it_is_a_value_error_for_python_callers() -> None:
    assert issubclass(NASError, ValueError)
