import csv
from pathlib import Path

import pytest

from examples import zero_shot as example
from lightning_nas.spaces import NASBench201


def test_architectures_are_of_different_classes_and_always_the_same() -> None:
    space, chosen = NASBench201(), example.architectures(40)
    assert len({space.published_key(path) for path in chosen}) == 40
    assert example.architectures(40) == chosen


@pytest.mark.slow
def test_quick_goes_through_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example.main(["--quick", "--workers", "1", "--out", str(tmp_path)])
    with (tmp_path / "estimates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    listed = (tmp_path / "architectures.txt").read_text().split()
    assert [row["arch"] for row in rows] == listed
    assert {"synflow", "fisher(broadcast=True)", "vote", "params"} <= set(rows[0])
    printed = capsys.readouterr().out
    assert "(.573)" in printed
    assert "ntk" in printed
    # Again, nothing is estimated a second time.
    example.main(["--quick", "--workers", "1", "--out", str(tmp_path)])
    assert "(.573)" in capsys.readouterr().out


def test_images_and_table_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        example.main([])
    assert "give --root and --benchmark, or --quick" in capsys.readouterr().err
