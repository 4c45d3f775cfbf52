from pathlib import Path

import pytest

from lightning_nas.cli import main
from lightning_nas.ranking.benchmark import TableRow, write_table
from lightning_nas.spaces import NASBench201, Pooling

FAMOUS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"


def describe(*args: str) -> None:
    main(["describe", *args])


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = (line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    return dict(lines)


def test_a_space_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    describe("--space", "NASBench201", "--space.channels", "4")
    found = printed(capsys)
    assert (found["space"], found["paths"], found["decisions"]) == ("NASBench201", "15,625", "6 of 5 choices")
    assert NASBench201().is_valid(NASBench201().decode(found["example"]))


def test_an_architecture_is_described_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cell.svg"
    describe("--space", "NASBench201", "--arch", FAMOUS, "--out", str(out))
    found = printed(capsys)
    assert found["arch"] == FAMOUS
    assert (found["params"], found["MACs"]) == ("802,426", "113,951,360")
    assert found["isomorphic"].startswith("4 ")
    assert found["drawing"] == str(out)
    assert out.read_bytes().startswith(b"<?xml")


def test_a_drawing_has_a_place_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    describe("--space", "NASBenchMacro", "--arch", "22212220")
    assert Path(printed(capsys)["drawing"]) == Path("runs/describe/NASBenchMacro-6477.png")
    assert (tmp_path / "runs/describe/NASBenchMacro-6477.png").read_bytes().startswith(b"\x89PNG")


def test_ground_truth_and_rank_come_from_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = {"4-3-3": 90.5, "7-1-2": 92.0, "1-1-8": 90.5}
    space = Pooling()
    costs = {arch: space.cost(space.decode(arch)) for arch in truth}
    rows = [TableRow(arch, truth[arch], 0.1, cost.params, cost.macs) for arch, cost in costs.items()]
    write_table(tmp_path / "table.csv", "cifar10", rows)
    table = ["--benchmark", str(tmp_path / "table.csv"), "--out", str(tmp_path / "x.png")]
    describe("--space", "Pooling", "--arch", "4-3-3", *table)
    assert printed(capsys)["cifar10"] == "90.50 %, rank 2 of 3"
    with pytest.raises(SystemExit, match=r"lacks 1 architecture \('8-1-1'\)"):
        describe("--space", "Pooling", "--arch", "8-1-1", *table)


def test_every_backbone_and_part_of_a_space_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    describe(
        *["--space", "RestrictedSpace", "--space.space", "NASBenchMacro"],
        *["--space.allowed", str([[1, 2]] * 8), "--arch", "22212211", "--out", str(tmp_path / "x.png")],
    )
    assert printed(capsys)["paths"] == "256"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--arch", "222"], "architecture '222' has 3 digits: valid are 8, one per layer"),
        (["--arch", "22212220", "--out", "x.txt"], "out is 'x.txt': a drawing is one of .png, .svg, .pdf"),
        (["--out", "x.png"], "arch is not given"),
        (["--space.layers", "[1]"], "one width more than there are stages"),
        (["--arch", "22212220", "--benchmark", "none.csv"], "benchmark table none.csv does not exist"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        describe("--space", "NASBenchMacro", *args)
    assert not list(tmp_path.iterdir())
