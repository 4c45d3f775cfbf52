from pathlib import Path

import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.ranking.converters import pooling
from lightning_nas.spaces import Pooling

HEADER = "architecture,baseline_avg,baseline_stdev,M1_avg,M1_stdev,"


def write(folder: Path, rows: list[str]) -> Path:
    file = folder / "resnet20_baselines_mixture.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    return file


def rows() -> list[str]:
    return [f"{number},{50 + number / 3:.8f},0.1{number},76.43,0.13," for number in range(1, 37)]


def test_architectures_are_those_of_the_space_in_its_order() -> None:
    space = Pooling()
    assert pooling.all_archs() == [space.encode(path) for path in space]


def test_numbered_file_of_the_authors(tmp_path: Path) -> None:
    table = pooling.convert(write(tmp_path, list(reversed(rows()))))
    assert table.column()["1-1-8"] == 50.3333
    assert table.column()["7-1-2"] == pytest.approx(50 + 34 / 3, abs=1e-4)
    assert table.deviations["cifar10"]["8-1-1"] == 0.136
    assert table.lines["8-1-1"] == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("37,90,0.1,1,1,", r"line 2 has the architecture '37', but it must be a number from 1 to 36"),
        ("x,90,0.1,1,1,", "line 2 has the architecture 'x'"),
        ("2,90,0.1,1,1,", "line 3 repeats architecture 2"),
        ("1,good,0.1,1,1,", "line 2 column 'baseline_avg' gives the accuracy 'good'"),
        ("1,190,0.1,1,1,", "line 2 column 'baseline_avg' gives the accuracy 190"),
        ("1,90", "line 2 column 'baseline_stdev' gives the accuracy None"),
    ],
)
def test_rows_of_another_form_are_refused(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(NASError, match=message):
        pooling.convert(write(tmp_path, [row, *rows()[1:]]))


def test_missing_rows_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"lacks 1 architecture \('8-1-1'\) of the 36"):
        pooling.convert(write(tmp_path, rows()[:-1]))
    with pytest.raises(NASError, match=r"nowhere\.csv cannot be read"):
        pooling.convert(tmp_path / "nowhere.csv")


def test_tables(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("\n".join(["arch,cifar10", *(f"{arch},90" for arch in pooling.all_archs())]))
    assert pooling.convert(file) == TabularBenchmark.read(file)
