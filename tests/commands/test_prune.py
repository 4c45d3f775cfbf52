import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lightning_nas import checkpoint
from lightning_nas.cli import main
from lightning_nas.commands.prune import _without, operation_scores
from lightning_nas.errors import NASError
from lightning_nas.ranking import kendall_tau
from lightning_nas.spaces import NASBench201, NASBenchMacro, Pooling, RestrictedSpace

ROOT = Path(__file__).parents[2]
CONFIGS = [
    "-c",
    str(ROOT / "configs/spaces/nasbench201_small.yaml"),
    "-c",
    str(ROOT / "configs/data/digits.yaml"),
]
QUIET = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
SHORT = [*QUIET, "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "2"]
SPACE = NASBench201(channels=4, cells=1)
ARCHS = [SPACE.encode(SPACE[i]) for i in range(0, 15625, 400)]  # 40 of them
SCORES = np.random.default_rng(0).permutation(40) + 20.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training, with scores that were made up."""
    run = tmp_path_factory.mktemp("prune") / "run"
    main(["fit", *CONFIGS, *SHORT, "--trainer.default_root_dir", str(run)])
    with (run / "ranking.csv").open("w", newline="") as file:
        rows = zip(ARCHS, SCORES, 70 - SCORES, np.arange(40), strict=True)
        csv.writer(file).writerows([("arch", "accuracy", "loss", "ground_truth"), *rows])
    return run


def prune(run: Path, *args: str | Path) -> Any:
    main(["prune", str(run), *map(str, args)])


def begin(run: Path, part: Path, root: Path) -> Any:
    """Trains for an epoch of 6 steps, as the documentation says; the space that was trained, and its weights."""
    given = ["-c", str(run / "config.yaml"), "-c", str(part), "--trainer.default_root_dir", str(root)]
    main(["fit", *given, *SHORT])
    last = root / "last.ckpt"
    return checkpoint.facts(last).space, checkpoint.load_supernet(last)


def test_the_best_quarter_is_trained_anew(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "best.yaml"
    prune(run, "--keep", "25", "--out", out)
    best = [arch for arch, score in zip(ARCHS, SCORES, strict=True) if score >= 50]
    assert (tmp_path / "best.txt").read_text().splitlines() == best
    assert len(best) == 10
    text = capsys.readouterr().out
    kept = SCORES >= 50
    assert f"{SCORES[kept].mean():.3f}" in text
    assert f"{kendall_tau(SCORES[kept], np.arange(40)[kept]):+.3f}" in text
    assert "10 of 15,625 paths" in text
    space, _ = begin(run, out, tmp_path / "part")
    assert [space.encode(path) for path in space] == best
    assert space.whole.describe() == checkpoint.facts(run / "last.ckpt").space.describe()


def test_by_loss_the_lowest_are_kept(run: Path, tmp_path: Path) -> None:
    prune(run, "--keep", "10", "--by", "loss", "--out", tmp_path / "best.yaml")
    best = [arch for arch, score in zip(ARCHS, SCORES, strict=True) if score >= 56]
    assert (tmp_path / "best.txt").read_text().splitlines() == best


def test_the_worst_operation_is_dropped_and_the_rest_trained_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fewer.yaml"
    prune(run, "--drop", "1", "--inherit", "--out", out)
    names = SPACE.choice_names[0]
    paths = [SPACE.decode(arch) for arch in ARCHS]
    means = [
        np.mean([score for path, score in zip(paths, SCORES, strict=True) for c in path if c == choice])
        for choice in range(5)
    ]
    worst = int(np.argmin(means))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "dropped" in line]
    assert [line[1] for line in lines] == [names[worst]]
    space, _ = begin(run, out, tmp_path / "part")
    assert isinstance(space, RestrictedSpace)
    assert space.allowed == (tuple(choice for choice in range(5) if choice != worst),) * 6
    callbacks = yaml.safe_load((tmp_path / "part/config.yaml").read_text())["trainer"]["callbacks"]
    assert callbacks == [
        {
            "class_path": "lightning_nas.callbacks.InheritedWeights",
            "init_args": {"supernet": str(run / "last.ckpt")},
        }
    ]


def test_operations_are_dropped_by_name_and_parts_pruned_again(run: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "fewer.yaml", tmp_path / "again.yaml"
    prune(run, "--drop", "[none, avg_pool_3x3]", "--out", out)
    part, _ = begin(run, out, tmp_path / "part")
    assert part.allowed == ((1, 2, 3),) * 6
    archs = [part.encode(part[i]) for i in (0, 300, 728)]
    (tmp_path / "part/ranking.csv").write_text(
        "arch,accuracy\n" + "".join(f"{a},{i}\n" for i, a in enumerate(archs))
    )
    prune(tmp_path / "part", "--keep", "70", "--out", again)
    assert (tmp_path / "again.txt").read_text().splitlines() == archs[1:]
    space, _ = begin(tmp_path / "part", again, tmp_path / "again")
    assert space.size == 2


def test_an_operation_without_an_alternative_is_kept_and_not_scored() -> None:
    space = RestrictedSpace(NASBench201(), ((3,), (1,), (0, 1), (1, 3), (0,), (0, 3)))
    paths = [(3, 1, 0, 1, 0, 0), (3, 1, 1, 3, 0, 3)]
    scores = operation_scores(space, paths, np.array([1.0, 5.0]))
    assert scores == {"none": 1, "skip_connect": 3, "nor_conv_3x3": 5}
    left = _without(space, ["skip_connect", "none"])
    assert left == ((3,), (1,), (0, 1), (3,), (0,), (3,))


def test_spaces_with_other_choices_at_every_decision() -> None:
    space = NASBenchMacro()
    paths = [space.decode(text) for text in ("00000000", "01000000", "20000000")]
    found = operation_scores(space, paths, np.array([8.0, 16.0, np.nan]))
    assert found == {"identity": (8 * 8 + 7 * 16) / 15, "k3 e3": 16}
    with pytest.raises(NASError, match="drop is for spaces of operations, but Pooling has none: give keep"):
        operation_scores(Pooling(), [(3,)], np.ones(1))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], r"keep .* or drop .* is needed, and only one"),
        (["--keep", "5", "--drop", "1"], "only one of them"),
        (["--keep", "0"], "keep is 0.0: valid are percentages"),
        (["--drop", "5"], "drop is 5: valid are 1 to 4 of the operations none, skip_connect"),
        (["--drop", "[pool]"], "drop has 'pool': valid are none, skip_connect"),
        (
            ["--drop", "[none,skip_connect,nor_conv_1x1,nor_conv_3x3,avg_pool_3x3]"],
            "which are all operations",
        ),
        (["--keep", "5", "--out", "best.yml"], "out is .*best.yml.*: valid are names that end in .yaml"),
    ],
)
def test_bad_input(args: list[str], message: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=message):
        prune(run, "--out", tmp_path / "part.yaml", *args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rows", "message"),
    [("{},nan\n{},nan\n", "only nan in that column"), ("{},1\nelsewhere,2\n", r"ranking\.csv line 3: ")],
)
def test_scores_that_do_not_fit_are_refused(run: Path, tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "last.ckpt").symlink_to(run / "last.ckpt")
    (tmp_path / "ranking.csv").write_text("arch,accuracy\n" + rows.format(*ARCHS))
    with pytest.raises(SystemExit, match=message):
        prune(tmp_path, "--drop", "1", "--out", tmp_path / "part.yaml")


def test_a_run_that_was_not_validated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"ranking\.csv"):
        prune(tmp_path, "--keep", "5", "--out", tmp_path / "part.yaml")
