import os
import re
import shutil
import subprocess
from pathlib import Path

import PIL.Image
import pytest
import report_runs
import short_runs

from lightning_nas.callbacks import Ranking, SamplingStatistics
from lightning_nas.cli import main
from lightning_nas.report import MARK
from lightning_nas.samplers import FairSampler, PathSampler, UniformSampler

WIDTH = 1280


def train(root: Path, sampler: PathSampler, benchmark: Path) -> Path:
    """A run of two epochs, validated at its end."""
    data, module = short_runs.digits(), short_runs.supernet_module()
    ranking = Ranking(str(benchmark))
    trainer = short_runs.trainer(root, sampler, SamplingStatistics(), ranking, max_epochs=2)
    trainer.fit(module, datamodule=data)
    short_runs.trainer(root, ranking).validate(module, datamodule=data, verbose=False)
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs with ground truth."""
    root = tmp_path_factory.mktemp("trained")
    space = short_runs.SMALL
    rows = [f"{space.encode(path)},{50 + number}\n" for number, path in enumerate(space)]
    (root / "truth.csv").write_text("arch,digits\n" + "".join(rows))
    samplers = {"uniform": UniformSampler(seed=0), "fair": FairSampler(seed=0)}
    return [train(root / name, sampler, root / "truth.csv") for name, sampler in samplers.items()]


def report(*args: str | Path) -> None:
    main(["report", *map(str, args)])


def test_trained_runs_become_a_page(
    trained: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "page.html"
    report(*trained, "--out", out, "--title", "Uniform & fair")
    assert re.fullmatch(rf"{out}: 2 runs, \d+ figures\n", capsys.readouterr().out)
    text = out.read_text()
    assert "<title>Uniform &amp; fair</title>" in text
    for expected in (">uniform<", ">fair<", "kendall_<wbr>tau", ">validate<", "operations.png", ">2</td>"):
        assert expected in text, expected
    assert not re.search(r"https?://", text)
    logged = short_runs.logged(trained[0], "val/accuracy")
    assert f">{max(logged):.2f}</td>" in text


def test_one_run_keeps_its_page_which_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = report_runs.write(tmp_path / "run", report_runs.config(), [50])
    report(run)
    assert capsys.readouterr().out == f"{run}/report.html: 1 run, 0 figures\n"
    first = (run / "report.html").read_text()
    assert "<h1>Run run</h1>" in first
    report(run)
    assert (run / "report.html").read_text() == first


def test_several_runs_have_theirs_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report(*(report_runs.write(Path(name), report_runs.config(), [50]) for name in "ab"))
    assert "<h1>2 runs</h1>" in (tmp_path / "report.html").read_text()


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", report_runs.config(), [50])
    mine, binary, folder = tmp_path / "mine.html", tmp_path / "binary.html", tmp_path / "folder.html"
    mine.write_text("<p>mine</p>")
    binary.write_bytes(b"\xff\xfe")
    folder.mkdir()
    for out in (mine, binary, folder):
        with pytest.raises(SystemExit, match=r"out is '.*', which exists and is no report: choose another"):
            report(run, "--out", out)
    assert mine.read_text() == "<p>mine</p>"
    with pytest.raises(SystemExit, match=r"page\.pdf': a report is a \.html file"):
        report(run, "--out", tmp_path / "page.pdf")
    with pytest.raises(SystemExit, match=r"where nothing can be written"):
        report(run, "--out", mine / "page.html")


def test_no_run_at_all_is_an_error_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        report()
    assert refused.value.code == 2
    assert "runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "run 'nowhere' is no folder"),
        (["run", "run"], "run 'run' is given twice"),
        (["."], r"run '\.' holds nothing of a run"),
        (["run", "broken"], r"broken/config\.yaml is no YAML"),
    ],
)
def test_wrong_runs_are_told_in_a_sentence(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run", "broken"):
        report_runs.write(Path(name), report_runs.config(), [50])
    Path("broken/config.yaml").write_text("a: [")
    with pytest.raises(SystemExit, match=f"^lightning-nas: {message}"):
        report(*args)
    assert not list(tmp_path.rglob("*.html"))


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium")
    if found is None and not os.environ.get("LIGHTNING_NAS_REQUIRE_CHROMIUM"):
        pytest.skip("there is no chromium; `make chromium` tells how to get it")
    assert found is not None, "LIGHTNING_NAS_REQUIRE_CHROMIUM is set, but there is no chromium"
    return found


@pytest.mark.slow
def test_a_browser_shows_the_page(chromium: str, trained: list[Path], tmp_path: Path) -> None:
    out, shot = tmp_path / "page.html", tmp_path / "page.png"
    report(*trained, "--out", out)

    def browse(*flags: str) -> str:
        # No sandbox: as root it has none. Nothing is kept, and nothing is asked of the network.
        headless = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        headless += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={WIDTH},2000", *flags]
        done = subprocess.run(
            [*headless, out.as_uri()], capture_output=True, text=True, check=True, timeout=120
        )
        return done.stdout

    dom = browse("--dump-dom")
    assert MARK in dom
    rows = re.findall(r"<tr>(.*?)</tr>", dom, flags=re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.DOTALL) for row in rows]
    # The sampler was handed over as an object: no configuration says which one it was.
    assert [row[:2] for row in cells if row][:2] == [["uniform", "supernet"], ["fair", "supernet"]]
    browse(f"--screenshot={shot}")
    with PIL.Image.open(shot) as image:
        assert image.size == (WIDTH, 2000)
        counts = image.convert("L").histogram()
    # Mostly paper, and a good deal of ink: texts, lines and curves.
    assert counts[255] > 0.6 * WIDTH * 2000
    assert sum(counts[:128]) > 0.01 * WIDTH * 2000
