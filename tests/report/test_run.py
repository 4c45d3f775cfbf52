from pathlib import Path

import pytest
import report_runs
import torch

from lightning_nas.errors import NASError
from lightning_nas.report.run import labels, read_runs


def test_everything_in_a_run_directory_is_read(tmp_path: Path) -> None:
    run = report_runs.write(
        tmp_path / "run",
        report_runs.config(seed=3),
        accuracies=[50, 70],
        results={"ranking.json": report_runs.CRITERIA, "search/search.json": {"top": []}},
    )
    (run / "ranking.csv").write_text("arch,accuracy,loss,ground_truth\n4-3-3,70,1,90\n5-3-2,60,2,91\n")
    report_runs.draw(run / "visits.png")
    report_runs.draw(run / "search" / "best.png")
    for hidden in ("wandb/copy.png", ".half.png", "scores/.half.png"):
        report_runs.draw(run / hidden)
    [found] = read_runs([run])
    assert found.label == "run"
    assert found.config["seed_everything"] == 3
    assert found.curves == {
        "epoch": ([9, 19], [0, 1]),
        "time/data_wait": ([4, 14], [0.1, 0.1]),
        "train/loss": ([4, 14], [2.5, 1.5]),
        "val/accuracy": ([9, 19], [50, 70]),
    }
    assert (found.epochs, found.steps) == (2, 19)
    assert set(found.results) == {"ranking.json", "search/search.json"}
    assert found.scores is not None
    assert found.scores.archs == ("4-3-3", "5-3-2")
    assert [str(file.relative_to(run)) for file in found.figures] == ["search/best.png", "visits.png"]


def test_the_checkpoint_knows_better_how_far_a_run_is(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", accuracies=[50])
    progress = {"fit_loop": {"epoch_progress": {"current": {"processed": 3}}}}
    known = {"global_step": 35, "epoch": 3, "loops": progress, "lightning_nas": {}, "state_dict": {}}
    torch.save(known, run / "last.ckpt")
    [found] = read_runs([run])
    assert (found.epochs, found.steps) == (3, 35)


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", accuracies=[50, 70])
    whole = (run / "metrics.csv").read_text()
    for half in ("24,,0.1", "2", "24,,0.1,1.2,9"):
        (run / "metrics.csv").write_text(whole + half)
        assert max(read_runs([run])[0].curves["train/loss"][0]) == 14
    for beginning in ("", "step", "step\r\n"):
        (run / "metrics.csv").write_text(beginning)
        assert read_runs([run])[0].curves == {}


def test_numbers_that_are_none_leave_gaps(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run")
    (run / "metrics.csv").write_text("step,train/loss\n1,nan\n2,inf\n3,0.5\n")
    assert read_runs([run])[0].curves == {"train/loss": ([3], [0.5])}


def test_what_lies_in_a_run_within_another_is_the_inner_one_s(tmp_path: Path) -> None:
    outer = report_runs.write(tmp_path / "few", report_runs.config())
    inner = report_runs.write(outer / "leaf-0", report_runs.config(), results={"search.json": {"top": []}})
    report_runs.draw(inner / "visits.png")
    [alone] = read_runs([outer])
    assert list(alone.results) == ["leaf-0/search.json"]
    assert len(alone.figures) == 1
    beside = {run.label: run for run in read_runs([outer, inner])}
    assert beside["few"].results == {}
    assert beside["few"].figures == ()
    assert list(beside["few/leaf-0"].results) == ["search.json"]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["/runs/density"], ["density"]),
        (["/runs/uniform/0", "/runs/uniform/1"], ["0", "1"]),
        (["/runs/uniform/0", "/runs/density/0", "/runs/learnt"], ["uniform/0", "density/0", "learnt"]),
        (["/runs/small/run", "/runs/large/run"], ["small", "large"]),
        (["/a/runs/x", "/b/runs/x"], ["a", "b"]),
        (["/runs/density", "/runs/density/search"], ["density", "density/search"]),
    ],
)
def test_labels_are_what_tells_runs_apart(folders: list[str], expected: list[str]) -> None:
    assert labels(list(map(Path, folders))) == expected


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", accuracies=[50])
    report_runs.draw(tmp_path / "figure.png")
    with pytest.raises(NASError, match=r"run '.*nowhere' is no folder: give run directories"):
        read_runs([run, tmp_path / "nowhere"])
    with pytest.raises(NASError, match=r"is no folder"):
        read_runs([run / "metrics.csv"])
    with pytest.raises(
        NASError, match=r"holds nothing of a run: give folders with at least one of config.yaml"
    ):
        read_runs([tmp_path])
    with pytest.raises(NASError, match=r"run '.*run/\.\./run' is given twice"):
        read_runs([run, run / ".." / "run"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "metrics.csv",
            "step,train/loss\n1,0.5\n2\n",
            "metrics.csv line 3 has 1 cells, but the header has 2",
        ),
        (
            "metrics.csv",
            "step,train/loss\n1,low\n",
            "line 2 has 'low' in column 'train/loss', which is no number",
        ),
        ("metrics.csv", "epoch,train/loss\n1,2\n", "metrics.csv has no column step"),
        ("config.yaml", "trainer: [", "config.yaml is no YAML: while parsing"),
        ("config.yaml", "- 1\n", "config.yaml is YAML, but has no keys"),
        (
            "config.yaml",
            "a: !!python/object/apply:os.getcwd []\n",
            "config.yaml is no YAML: could not determine",
        ),
        ("ranking.json", "{", "ranking.json is no JSON"),
        ("ranking.json", "[1]", "ranking.json is JSON, but has no keys"),
        ("environment.json", "{", "environment.json is no JSON: remove it"),
        ("ranking.csv", "arch,accuracy\n4-3-3,high\n", "ranking.csv line 2 has 'high' in column 'accuracy'"),
        ("groundtruth.csv", "arch\n4-3-3\n", "groundtruth.csv"),
        ("last.ckpt", "nothing", r"last.ckpt' is damaged or no checkpoint"),
    ],
)
def test_broken_files_are_told_in_a_sentence(file: str, content: str, message: str, tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", report_runs.config())
    (run / file).write_text(content)
    with pytest.raises(NASError, match=message) as refused:
        read_runs([run])
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", report_runs.config())
    (run / "metrics.csv").write_bytes(b"step\n\xff\xfe\n")
    with pytest.raises(NASError, match=r"metrics\.csv cannot be read"):
        read_runs([run])
