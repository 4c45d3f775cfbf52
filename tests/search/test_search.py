"""Searches with a supernet: scores, files, interruptions, the command line."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from search_runs import SPACE, data, evolution, one_by_one, rows, search
from toy_space import Toy

from lightning_nas import checkpoint, plots
from lightning_nas.callbacks import Ranking
from lightning_nas.cli import main
from lightning_nas.data import DigitsDataModule
from lightning_nas.errors import NASError
from lightning_nas.evaluation import PathEvaluator
from lightning_nas.plots import best_so_far
from lightning_nas.search import (
    Boltzmann,
    Exhaustive,
    Limits,
    RandomSearch,
    SearchAlgorithm,
    Shifting,
    SupernetScorer,
)
from lightning_nas.spaces import NormPolicy, Pooling

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("score", ["accuracy", "loss"])
def test_scores_are_those_of_a_validation(tmp_path: Path, score: str) -> None:
    module = short_runs.supernet_module(SPACE)
    found = search(tmp_path, module, algorithm=evolution(), score=score)
    archs = [row["arch"] for row in rows(tmp_path)]
    assert len(archs) == len(set(archs)) == found["evaluations"] == 32
    accuracies, losses = one_by_one(module, archs)
    wanted = accuracies if score == "accuracy" else [-loss for loss in losses]
    assert [float(row["score"]) for row in rows(tmp_path)] == pytest.approx(wanted, abs=1e-5)
    assert found["best"]["score"] == pytest.approx(max(wanted), abs=1e-5)
    assert [row["score"] for row in found["top"]] == pytest.approx(
        sorted(wanted, reverse=True)[:10], abs=1e-5
    )
    cost = module.space.cost(module.space.decode(found["best"]["arch"]))
    assert (found["best"]["params"], found["best"]["macs"]) == (cost.params, cost.macs)
    macs = {row["arch"]: int(row["macs"]) for row in rows(tmp_path)}
    for row in found["front"]:
        rivals = [score for arch, score in zip(archs, wanted, strict=True) if macs[arch] <= row["macs"]]
        assert row["score"] == pytest.approx(max(rivals), abs=1e-5)
    history = [row["score"] for row in found["history"]]
    assert history == sorted(set(history))
    assert found["settings"]["seed"] == 0
    assert found["settings"]["algorithm"]["name"] == "Evolution"
    for name in ("best_so_far", "pareto", "best"):
        assert (tmp_path / "search" / f"{name}.png").stat().st_size > 10_000
    assert not (tmp_path / "search" / "search.partial").exists()


def test_statistics_are_recalibrated_where_validation_does(tmp_path: Path) -> None:
    space = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))
    module = short_runs.supernet_module(space, norm=NormPolicy(running_stats=True))
    found = search(tmp_path, module, Ranking(recalibrate=60), algorithm=Exhaustive())
    trainer = short_runs.trainer(tmp_path / "validated", Ranking(recalibrate=60))
    trainer.validate(module, datamodule=data(), verbose=False)
    ranking = {
        row["arch"]: float(row["accuracy"])
        for row in short_runs.table(tmp_path / "validated" / "ranking.csv")
    }
    scores = {row["arch"]: float(row["score"]) for row in rows(tmp_path)}
    assert scores == {arch: ranking[arch] for arch in scores}
    assert found["best"]["score"] == max(ranking.values())


def test_ground_truth_stands_beside_what_was_found(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    archs = [SPACE.encode(path) for path in SPACE]
    table.write_text("arch,digits\n" + "".join(f"{arch},{i}\n" for i, arch in enumerate(archs)))
    found = search(tmp_path, None, Ranking(benchmark=str(table)), algorithm=evolution())
    assert found["best"]["ground_truth"] == archs.index(found["best"]["arch"])
    assert all(float(row["ground_truth"]) == archs.index(row["arch"]) for row in rows(tmp_path))


def test_single_batches_are_told_from_all_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their scores are accuracies, also where the best are told by the loss, and stay out of the figures."""
    drawn: list[Sequence[float]] = []

    def draw(evaluations: Sequence[int], scores: Sequence[float], label: str) -> Any:
        drawn.extend((evaluations, scores))
        return best_so_far(evaluations, scores, label)

    monkeypatch.setattr(plots, "best_so_far", draw)
    search(tmp_path, algorithm=Boltzmann(evaluations=20, num_rescored=5), score="loss")
    table = rows(tmp_path)
    assert [row["one_batch"] for row in table] == ["True"] * 20 + ["False"] * 5
    assert all(float(row["score"]) >= 0 for row in table[:20])
    assert drawn == [[21, 22, 23, 24, 25], [float(row["score"]) for row in table[20:]]]
    assert max(drawn[1]) < 0


def test_an_algorithm_that_hides_its_arguments_is_refused(tmp_path: Path) -> None:
    class Hiding(RandomSearch):
        def __init__(self, number: int) -> None:
            super().__init__(number)

    with pytest.raises(NASError, match="Hiding takes number, but has no attribute number"):
        search(tmp_path, algorithm=Hiding(3))


@pytest.mark.parametrize(
    ("make", "shifting", "question"),
    [
        (evolution, None, 0),
        (evolution, None, 2),
        (lambda: Boltzmann(evaluations=30, num_rescored=5), None, 17),
        (evolution, Shifting(steps=2, lr=0.05), 13),
        (evolution, Shifting(steps=2, lr=0.05, accumulate=True), 2),
    ],
    ids=["at_once", "evolution", "boltzmann", "shifting", "shifting_by_generation"],
)
def test_an_interrupted_search_continues_exactly(
    make: Callable[[], SearchAlgorithm],
    shifting: Shifting | None,
    question: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    straight = search(tmp_path / "straight", algorithm=make(), shifting=shifting)
    prepare = SupernetScorer.prepare
    monkeypatch.setattr(SupernetScorer, "prepare", interrupted(prepare, question))
    with pytest.raises(SystemExit, match="the same command continues"):
        search(tmp_path / "parts", algorithm=make(), shifting=shifting)
    assert (tmp_path / "parts" / "search" / "search.partial").exists()
    monkeypatch.setattr(SupernetScorer, "prepare", prepare)
    assert search(tmp_path / "parts", algorithm=make(), shifting=shifting) == straight
    assert rows(tmp_path / "parts") == rows(tmp_path / "straight")


def interrupted(prepare: Callable[..., None], question: int) -> Callable[..., None]:
    left = iter(range(question, -1, -1))

    def wrapped(scorer: Any, paths: Any) -> None:
        if next(left) == 0:
            raise KeyboardInterrupt
        prepare(scorer, paths)

    return wrapped


def test_the_checkpoint_is_searched_and_left_alone(trained: Path, tmp_path: Path) -> None:
    before = (trained / "last.ckpt").read_bytes()
    options: dict[str, Any] = {"algorithm": evolution(), "ckpt_path": str(trained / "last.ckpt")}
    search(tmp_path / "plain", **options)
    search(tmp_path / "shifted", **options, shifting=Shifting(steps=1, lr=0.1))
    assert (trained / "last.ckpt").read_bytes() == before
    supernet = checkpoint.load_supernet(trained / "last.ckpt")
    evaluator = PathEvaluator(
        supernet.eval(), [supernet.space.decode(row["arch"]) for row in rows(tmp_path / "plain")]
    )
    for number, (images, labels) in enumerate(data().val_dataloader()):
        with torch.no_grad():
            evaluator.update(images, labels, number)
    assert evaluator.scores().accuracy.tolist() == [float(row["score"]) for row in rows(tmp_path / "plain")]


def test_results_of_another_search_are_not_replaced(tmp_path: Path) -> None:
    first = search(tmp_path, algorithm=evolution())
    assert search(tmp_path, algorithm=evolution()) == first
    cases: list[tuple[dict[str, Any], str]] = [
        ({"algorithm": RandomSearch(5)}, "algorithm"),
        ({"algorithm": evolution(), "seed": 1}, "seed 0, but now seed is 1"),
        ({"algorithm": evolution(), "limits": Limits(max_params=600)}, "limits"),
        (
            {
                "algorithm": evolution(),
                "module": short_runs.supernet_module(SPACE, norm=NormPolicy(affine=True)),
            },
            "weights",
        ),
    ]
    for options, said in cases:
        if "module" in options:
            with torch.no_grad():
                next(options["module"].parameters()).zero_()
        with pytest.raises(NASError, match=said):
            search(tmp_path, **options)
    assert search(tmp_path, algorithm=evolution()) == first
    (tmp_path / "search" / "search.json").write_text("{}")
    with pytest.raises(NASError, match=r"search.json is no result of a search: choose another out"):
        search(tmp_path, algorithm=evolution())


def test_impossible_limits_and_folders_are_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DigitsDataModule, "open_splits", lambda _: pytest.fail("the images were read"))
    with pytest.raises(NASError, match="no path has params at most 1: the nearest"):
        search(tmp_path, limits=Limits(max_params=1))
    (tmp_path / "file").write_text("")
    with pytest.raises(NASError, match=r"out is .* where nothing can be written: Not a directory"):
        search(tmp_path, out=str(tmp_path / "file" / "folder"))
    with pytest.raises(NASError, match="limit_val_batches is 0"):
        short_runs.trainer(tmp_path, limit_val_batches=0).search(short_runs.supernet_module(SPACE), data())
    with pytest.raises(NASError, match="100000 can be looked at"):
        search(tmp_path, short_runs.supernet_module(Toy(layers=12)), algorithm=Exhaustive())


@pytest.mark.slow
def test_every_config_of_a_search_runs(tmp_path: Path) -> None:
    common = [
        "-c",
        str(ROOT / "configs/spaces/nasbench201_small.yaml"),
        "-c",
        str(ROOT / "configs/data/digits.yaml"),
    ]
    common += [
        "--data.train_size",
        "100",
        "--data.val_size",
        "20",
        "--data.eval_batch_size",
        "20",
        "--data.batch_size",
        "20",
    ]
    common += ["--trainer.default_root_dir", str(tmp_path), "--trainer.enable_progress_bar", "false"]
    main(["fit", *common, "--trainer.max_epochs", "1", "--ranking.paths", "1"])
    part = ["-c", str(tmp_path / "config.yaml"), "--ckpt_path", "last", "--limits.max_macs", "60000"]
    short = {
        "evolution": "--algorithm.generations=1",
        "shifting": "--algorithm.generations=0",
        "boltzmann": "--algorithm.evaluations=20",
        "aging_evolution": "--algorithm.evaluations=60",
        "randomnas": "--algorithm.evaluations=20",
        "nsga2": "--algorithm.generations=1",
    }
    files = sorted((ROOT / "configs" / "search").glob("*.yaml"))
    assert short.keys() <= {file.stem for file in files}
    for file in files:
        out = tmp_path / file.stem
        more = [short[file.stem]] if file.stem in short else []
        more += ["--shifting.steps=1"] if file.stem == "shifting" else []
        main(["search", *part, "-c", str(file), *more, "--out", str(out)])
        found = json.loads((out / "search.json").read_text())
        assert 0 < found["best"]["macs"] <= 60000
        with (out / "search.csv").open(newline="") as table:
            assert len(list(csv.DictReader(table))) == found["evaluations"]


def test_progress_names_the_best_so_far(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = short_runs.supernet_module(SPACE)
    for shown in (None, False):
        trainer = short_runs.trainer(tmp_path / str(shown), enable_progress_bar=shown)
        trainer.search(module, data(), algorithm=RandomSearch(5), seed=0)
        last = capsys.readouterr().err.rpartition("\r")[2]
        best = json.loads((tmp_path / str(shown) / "search" / "search.json").read_text())["best"]
        assert ("5/5" in last and f"best {best['score']:.4g} {best['arch']}" in last) == (shown is None)


def test_mistakes_on_the_command_line_are_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trained: Path
) -> None:
    common = [
        "search",
        "-c",
        str(ROOT / "configs/spaces/pooling_small.yaml"),
        "-c",
        str(ROOT / "configs/data/digits.yaml"),
    ]
    common += ["--trainer.default_root_dir", str(tmp_path)]
    for more, said in (
        (["--algorithm", "Evolutoin"], "--algorithm is 'Evolutoin': valid are AgingEvolution, Boltzmann"),
        (["--ckpt_path", "last"], "there is no"),
        ([], "the checkpoint holds the space toy_space.Toy"),
        (["--limits.max_macs", "10"], "no path has macs at most 10: the nearest"),
        (["--algorithm", "RandomSearch", "--algorithm.evaluations", "0"], "algorithm.evaluations is 0"),
    ):
        with pytest.raises(SystemExit) as end:
            main([*common, "--ckpt_path", str(trained / "last.ckpt"), *more])
        assert said in f"{end.value.code} {capsys.readouterr().err}"
