import math
from pathlib import Path

import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking.table import ScoreTable, average

HEADER = '"arch","accuracy","loss","ground_truth","params","macs"\n'


def written(folder: Path, text: str, name: str = "ranking.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_ranking_of_a_run_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + '"01",50.0,1.5,90.0,10,20\n"10",nan,nan,91.0,11,21\n')
    table = ScoreTable.read(str(path))
    assert table.archs == ("01", "10")
    assert table.lines == (2, 3)
    assert math.isnan(table.columns.pop("accuracy")[1])
    assert math.isnan(table.columns.pop("loss")[1])
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "ground_truth": [90, 91],
        "params": [10, 11],
        "macs": [20, 21],
    }


def test_an_empty_column_of_ground_truth_is_none(tmp_path: Path) -> None:
    table = ScoreTable.read(written(tmp_path, 'arch,accuracy,ground_truth\n"a",1,""\n"b",2,""\n'))
    assert list(table.columns) == ["accuracy"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch,loss\na,1\n", "has the columns arch, loss, but needs one named accuracy"),
        ("accuracy\n1\n", "needs one named arch"),
        ("arch,accuracy\na,1\nb,x\n", "line 3 has 'x' in column 'accuracy', but it must be a number, or nan"),
        ("arch,accuracy\na,\nb,1\n", "line 2 has '' in column 'accuracy'"),
        (
            "arch,accuracy,params\na,1,nan\n",
            "line 2 has 'nan' in column 'params', but it must be a finite number",
        ),
        ("arch,accuracy,ground_truth\na,1,9\nb,1,\n", "line 3 has '' in column 'ground_truth'"),
        ("arch,accuracy\na,1\na,2\n", "line 3 repeats architecture 'a' of line 2"),
        ("arch,accuracy\na,1,2\n", "line 2 has 3 cells, but the header has 2"),
        ("arch,accuracy\n", "ranking .*ranking.csv is empty"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        ScoreTable.read(written(tmp_path, text))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"ranking .*none\.csv does not exist"):
        ScoreTable.read(tmp_path / "none.csv")


def test_averages_match_architectures_in_any_order(tmp_path: Path) -> None:
    first = written(tmp_path, "arch,accuracy,loss,params\na,1,2,7\nb,3,4,8\n", "first.csv")
    second = written(tmp_path, "arch,accuracy,params\nb,5,8\na,2,7\n", "second.csv")
    mean = average([ScoreTable.read(first), ScoreTable.read(second)])
    assert mean.archs == ("a", "b")
    assert {name: column.tolist() for name, column in mean.columns.items()} == {
        "accuracy": [1.5, 4],
        "params": [7, 8],
    }


def test_a_path_that_one_supernet_could_not_score_stays_without_score(tmp_path: Path) -> None:
    files = [written(tmp_path, f"arch,accuracy\na,{cell}\nb,1\n", f"{cell}.csv") for cell in ("nan", "5")]
    mean = average([ScoreTable.read(file) for file in files])
    assert math.isnan(mean.columns["accuracy"][0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch,accuracy\na,1\n", "second.csv lacks architecture 'b' of .*first.csv"),
        (
            "arch,accuracy\na,1\nb,1\nc,1\n",
            "second.csv line 4 scores architecture 'c', which .*first.csv lacks",
        ),
        (
            "arch,accuracy,params\nb,1,8\na,1,9\n",
            "second.csv line 3 has params 9 for architecture 'a', but .*first.csv line 2 has 7",
        ),
    ],
)
def test_rankings_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    first = ScoreTable.read(written(tmp_path, "arch,accuracy,params\na,1,7\nb,3,8\n", "first.csv"))
    with pytest.raises(NASError, match=message):
        average([first, ScoreTable.read(written(tmp_path, text, "second.csv"))])
