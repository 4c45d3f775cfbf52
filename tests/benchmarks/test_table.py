from pathlib import Path

import pytest

from benchmarks import measure, table

ROW = measure.Comparison("step, ours / other", 1.25, 1234.5, "ms", 0.00101, "0.001 to 0.002", 512.3)
RESULTS: table.Results = {"one": [ROW], "two": table.LEFT_OUT + "a table is missing"}


def test_a_row_holds_both_sides_and_their_ratio() -> None:
    assert table.cells(ROW) == (
        "step, ours / other",
        "1.25 ms",
        "1,234 ms",
        "0.00101",
        "0.001 to 0.002",
        "512 MB",
    )


def test_the_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{table.MARKS[0]}\nold\n{table.MARKS[1]}\nafter\n")
    table.write(page, table.markdown(RESULTS))
    table.write(page, lines := table.markdown(RESULTS))
    assert page.read_text().splitlines() == ["before", table.MARKS[0], *lines, table.MARKS[1], "after"]
    rows = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in rows} == {7}
    assert [line for line in rows if "left out: a table is missing" in line]


def test_a_page_without_a_place_for_the_table_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("before\n")
    with pytest.raises(SystemExit, match="no lines"):
        table.write(page, table.markdown(RESULTS))
    assert page.read_text() == "before\n"


def test_ratios_are_taken_round_by_round() -> None:
    slower = measure.relative("a / b", [2.0, 6.0, 9.0], [1.0, 2.0, 9.0], "s")
    assert slower.values == [2.0, 3.0, 1.0]
    assert slower.sides == (6.0, 2.0, "s")
    assert measure.speedup("b / a", [2.0, 6.0, 9.0], [1.0, 3.0, 9.0], "s").values == [0.5, 0.5, 1.0]


def test_every_script_is_in_the_table() -> None:
    files = {path.stem for path in table.FOLDER.glob("*.py")}
    assert set(table.SCRIPTS) == files - {"measure", "table", "nni_side"}


def test_what_a_machine_lacks_is_told_from_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_NAS_DATA", str(tmp_path))
    found = table.run("search", [])
    assert isinstance(found, str)
    assert found.startswith(f"{table.LEFT_OUT}--tables {tmp_path}/benchmarks has no nasbench201.csv")
    assert str(table.run("search", ["--unknown"])).startswith(table.FAILED)
