from pathlib import Path

import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking.converters.reading import averaged, percent, read_json

HERE = Path("original.json")


@pytest.mark.parametrize("value", [-0.1, 100.1, float("nan"), float("inf"), "90", None, True, [90.0]])
def test_what_is_no_percentage_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(NASError, match=r"row 7 gives the accuracy .* from 0 to 100 \(percent\)"):
        percent(value, "row 7")


def test_percentages() -> None:
    assert [percent(value, "") for value in (0, 100, 93.25)] == [0.0, 100.0, 93.25]


def test_means_and_population_deviations() -> None:
    table = averaged(HERE, {"a": {"x": [90.0, 93.0, 93.0], "y": [50.0]}, "b": {"x": [1.0], "y": [2.0]}})
    assert table.accuracies == {"a": {"x": 92.0, "y": 50.0}, "b": {"x": 1.0, "y": 2.0}}
    assert table.deviations == {"a": {"x": 1.4142, "y": 0.0}}


def test_tables_with_holes_are_refused() -> None:
    with pytest.raises(NASError, match=r"original\.json has other architectures for b than for the rest"):
        averaged(HERE, {"a": {"x": [1.0], "y": [1.0]}, "b": {"x": [1.0]}})
    with pytest.raises(NASError, match=r"original\.json holds no architecture"):
        averaged(HERE, {"a": {}})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.json"
    file.write_bytes(content)
    with pytest.raises(NASError, match=r"broken\.json cannot be read as JSON"):
        read_json(file)
    with pytest.raises(NASError, match="cannot be read as JSON"):
        read_json(tmp_path / "nowhere.json")
