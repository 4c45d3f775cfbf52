import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from toy_space import Toy

from lightning_nas.callbacks import Ranking
from lightning_nas.density import mean_distances, probe_indices
from lightning_nas.errors import NASError
from lightning_nas.evaluation import Calibration
from lightning_nas.ranking import (
    TableRow,
    complexity_bias,
    convergence_correlation,
    density_bias,
    ranking_metrics,
    write_table,
)
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import ListedSpace, NormPolicy, Pooling, RestrictedSpace, SearchSpace

SPACE = Pooling(blocks=(2, 2, 2), channels=(2, 2, 4), in_channels=1, image_size=8)
KEYS = ["n", "kendall_tau", "spearman", "pearson", "p_at_top_5", "p_at_bottom_5", "br_at_5", "wr_at_5"]
KEYS += ["top1_ground_truth", "top5_ground_truth", "top10_ground_truth"]
KEYS += ["complexity_bias", "complexity_convergence"]
KEYS += ["density_bias", "density_vs_score", "density_vs_ground_truth"]
# On what the scores of `short_runs.digits()` depend beside the weights.
BATCHES = {"batch_norm": "batch", "recalibration_images": 0, "eval_batch_size": 100, "number of batches": 1}


@pytest.fixture
def table(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    rows = []
    for path in SPACE:
        cost = SPACE.cost(path)
        rows.append(TableRow(SPACE.encode(path), float(rng.uniform(50, 90)), 1.0, cost.params, cost.macs))
    write_table(tmp_path / "truth.csv", "digits", rows)
    return str(tmp_path / "truth.csv")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def validate(root: Path, ranking: Ranking, space: Any = SPACE, verb: str = "validate", **data: Any) -> Any:
    module = short_runs.supernet_module(space)
    getattr(short_runs.trainer(root, ranking, logger=False), verb)(
        module, datamodule=short_runs.digits(**data), verbose=False
    )
    return module


def test_validate_writes_the_ranking(tmp_path: Path, table: str) -> None:
    module = validate(tmp_path, Ranking(table, probe_size=16))
    scores = module.evaluator.scores()
    found = rows(tmp_path / "ranking.csv")
    assert list(found[0]) == ["arch", "accuracy", "loss", "ground_truth", "params", "macs"]
    assert [row["arch"] for row in found] == [SPACE.encode(path) for path in SPACE]
    assert [float(row["accuracy"]) for row in found] == scores.accuracy.tolist()
    assert [float(row["loss"]) for row in found] == scores.loss.tolist()
    assert [int(row["macs"]) for row in found] == [SPACE.cost(path).macs for path in SPACE]
    truth = np.array([float(row["digits"]) for row in rows(Path(table))])
    assert [float(row["ground_truth"]) for row in found] == truth.tolist()

    data = short_runs.digits()
    probe = data.validation_images(probe_indices(100, 16, seed=0))
    distance = mean_distances(module.supernet, tuple(SPACE), *probe, "functional")
    assert [float(row["mean_distance"]) for row in rows(tmp_path / "density.csv")] == pytest.approx(distance)
    report = json.loads((tmp_path / "ranking.json").read_text())
    assert report.pop("evaluation") == BATCHES
    assert list(report) == KEYS
    expected = ranking_metrics(scores.accuracy, truth) | vars(density_bias(distance, scores.accuracy, truth))
    # All paths of Pooling have the same parameters.
    macs = [SPACE.cost(path).macs for path in SPACE]
    expected["complexity_bias"] = complexity_bias(scores.accuracy, truth, macs)
    expected["complexity_convergence"] = convergence_correlation(scores.accuracy, truth, macs)
    assert 0 < expected["complexity_bias"] < 1
    assert report == {
        key: None if np.isnan(value) else pytest.approx(value) for key, value in expected.items()
    }


def test_without_ground_truth_only_the_number_of_paths_is_reported(tmp_path: Path) -> None:
    validate(tmp_path, Ranking())
    assert json.loads((tmp_path / "ranking.json").read_text()) == {"n": 15, "evaluation": BATCHES}
    assert {row["ground_truth"] for row in rows(tmp_path / "ranking.csv")} == {""}
    assert len(rows(tmp_path / "density.csv")) == 15


def test_a_sample_of_the_paths(tmp_path: Path, table: str) -> None:
    validate(tmp_path / "some", Ranking(table, paths=6))
    validate(tmp_path / "all", Ranking(table))
    some = {row["arch"]: row for row in rows(tmp_path / "some" / "ranking.csv")}
    every = {row["arch"]: row for row in rows(tmp_path / "all" / "ranking.csv")}
    assert len(some) == 6
    assert all(every[arch] == row for arch, row in some.items())
    distances = {row["arch"]: row for row in rows(tmp_path / "all" / "density.csv")}
    assert all(distances[row["arch"]] == row for row in rows(tmp_path / "some" / "density.csv"))


@pytest.mark.parametrize(("space", "paths"), [(Toy(layers=30), 5), (ListedSpace(SPACE, (SPACE[3],)), 1)])
def test_where_there_are_no_densities_paths_are_ranked_all_the_same(
    space: SearchSpace, paths: int, tmp_path: Path
) -> None:
    validate(tmp_path, Ranking(paths=paths), space=space)
    assert json.loads((tmp_path / "ranking.json").read_text()) == {"n": paths, "evaluation": BATCHES}
    assert not (tmp_path / "density.csv").exists()


def test_without_a_probe_no_densities_are_measured(tmp_path: Path, table: str) -> None:
    validate(tmp_path, Ranking(table, probe_size=0))
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["ranking.csv", "truth.csv"]
    assert "density_bias" not in json.loads((tmp_path / "ranking.json").read_text())


def test_test_scores_the_test_split_into_files_of_its_own(tmp_path: Path) -> None:
    module = validate(tmp_path, Ranking(), verb="test")
    assert int(module.evaluator.metric.images) == 1797 - 300
    assert (tmp_path / "test_ranking.csv").exists()
    assert not (tmp_path / "ranking.csv").exists()


def test_fit_logs_the_criteria_at_every_validation_and_writes_no_report(tmp_path: Path, table: str) -> None:
    sampler = UniformSampler(seed=0)
    trainer = short_runs.trainer(
        tmp_path / "run", sampler, Ranking(table), max_epochs=4, check_val_every_n_epoch=2
    )
    trainer.fit(short_runs.supernet_module(SPACE), datamodule=short_runs.digits())
    logged = [row for row in short_runs.metrics(tmp_path / "run") if row["ranking/kendall_tau"]]
    assert [row["epoch"] for row in logged] == ["1.0", "3.0"]
    assert -1 <= float(logged[-1]["ranking/kendall_tau"]) <= 1
    assert not (tmp_path / "run" / "ranking.json").exists()


def test_complexity_is_the_number_of_parameters_where_paths_differ_in_it(tmp_path: Path) -> None:
    """Logged at every validation of a training."""
    space, rng = Toy(layers=2, width=4), np.random.default_rng(0)
    truth = rng.uniform(50, 90, len(space))
    params = [space.cost(path).params for path in space]
    costs = [(params[i], space.cost(path).macs) for i, path in enumerate(space)]
    archs = map(space.encode, space)
    write_table(
        tmp_path / "truth.csv",
        "digits",
        [TableRow(a, t, 0.0, *c) for a, t, c in zip(archs, truth, costs, strict=True)],
    )
    ranking = Ranking(str(tmp_path / "truth.csv"))
    trainer = short_runs.trainer(tmp_path / "run", UniformSampler(seed=0), ranking, max_epochs=2)
    trainer.fit(short_runs.supernet_module(space), datamodule=short_runs.digits())
    logged = [row for row in short_runs.metrics(tmp_path / "run") if row["ranking/complexity_bias"]]
    for epoch, row in enumerate(logged, start=1):
        scores = [float(one["accuracy"]) for one in rows(tmp_path / f"run/scores/epoch_{epoch:04d}.csv")]
        bias = complexity_bias(scores, truth, params)
        assert float(row["ranking/complexity_bias"]) == pytest.approx(bias, rel=1e-6)
        correlation = convergence_correlation(scores, truth, params)
        assert float(row["ranking/complexity_convergence"]) == pytest.approx(correlation, rel=1e-6)
    assert len(logged) == 2


def test_a_table_that_does_not_fit_is_refused_before_a_step(tmp_path: Path, table: str) -> None:
    sampler = UniformSampler(seed=0)
    for space, message in (
        (Pooling(blocks=(1, 1, 1), channels=(2, 2, 4)), "of the 3 in the search space"),
        (
            Pooling(blocks=(2, 2, 2), channels=(2, 4, 4)),
            "made for another width, image size or number of classes",
        ),
        (Toy(layers=30), r"truth.csv line 2: architecture '1-1-5' is not in the toy space"),
    ):
        with pytest.raises(NASError, match=message):
            short_runs.trainer(tmp_path, sampler, Ranking(table)).fit(
                short_runs.supernet_module(space), datamodule=short_runs.digits()
            )
    assert sampler.visits is None or sampler.visits.sum() == 0


def test_all_paths_of_a_space_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"ranking\.paths is 'all', but the space has"):
        validate(tmp_path, Ranking(), space=Toy(layers=30))


def test_a_table_of_the_whole_space_serves_a_part(tmp_path: Path, table: str) -> None:
    kept = (2, 3, 5, 7, 11)
    validate(tmp_path, Ranking(table), space=RestrictedSpace(SPACE, (kept,)))
    truth = {row["arch"]: float(row["digits"]) for row in rows(Path(table))}
    found = {row["arch"]: float(row["ground_truth"]) for row in rows(tmp_path / "ranking.csv")}
    assert found == {arch: truth[arch] for arch in (SPACE.encode((path,)) for path in kept)}


def test_of_a_space_without_end_the_paths_of_the_table_are_ranked(tmp_path: Path) -> None:
    space = Toy(layers=30)
    rng = np.random.default_rng(1)
    truth = {space.encode(space.sample(rng)): float(rng.uniform(50, 90)) for _ in range(40)}
    costs = {arch: space.cost(space.decode(arch)) for arch in truth}
    table = tmp_path / "truth.csv"
    table_rows = [TableRow(arch, truth[arch], 0.0, costs[arch].params, costs[arch].macs) for arch in truth]
    write_table(table, "digits", table_rows)

    validate(tmp_path / "all", Ranking(str(table)), space=space)
    validate(tmp_path / "some", Ranking(str(table), paths=7), space=space)
    every, some = (rows(tmp_path / name / "ranking.csv") for name in ("all", "some"))
    assert {row["arch"]: float(row["ground_truth"]) for row in every} == truth
    assert len(some) == 7
    assert all(row in every for row in some)
    report = json.loads((tmp_path / "all" / "ranking.json").read_text())
    assert report["n"] == 40
    scores = np.array([float(row["accuracy"]) for row in every])
    ordered = np.array([truth[row["arch"]] for row in every])
    assert report["spearman"] == pytest.approx(ranking_metrics(scores, ordered)["spearman"])


def test_another_kind_of_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="Ranking needs a SupernetModule, not a BoringModel"):
        short_runs.trainer(tmp_path, Ranking()).fit(BoringModel())


def test_a_probe_larger_than_the_validation_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="probe_size is 101, but the validation split has 100 images"):
        validate(tmp_path, Ranking(probe_size=101))


def test_an_interrupted_validation_continues_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate(tmp_path / "straight", Ranking(), eval_batch_size=50)
    run, scored = tmp_path / "run", list[tuple[int, ...]]()
    forward_each = type(short_runs.supernet_module(SPACE).supernet).forward_each

    def interrupted(self: Any, x: Any, paths: Any) -> Any:
        for number, output in enumerate(forward_each(self, x, paths)):
            if len(scored) == 20:
                raise KeyboardInterrupt
            scored.append((number,))
            yield output

    with monkeypatch.context() as patch:
        patch.setattr("lightning_nas.spaces.supernet.ChainSupernet.forward_each", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            validate(run, Ranking(), eval_batch_size=50)
    assert (run / "validate.partial").exists()
    assert not (run / "ranking.csv").exists()
    with pytest.raises(NASError, match=r"begun with data\.eval_batch_size 50, but now .* is 25"):
        validate(run, Ranking(), eval_batch_size=25)
    validate(run, Ranking(), eval_batch_size=50)
    assert (run / "ranking.csv").read_text() == (tmp_path / "straight" / "ranking.csv").read_text()
    assert not (run / "validate.partial").exists()


def test_recalibrated_scores_are_those_of_statistics_from_training_images(tmp_path: Path) -> None:
    module = short_runs.supernet_module(SPACE, norm=NormPolicy(running_stats=True))
    data, ranking = short_runs.digits(), Ranking(recalibrate=60)
    short_runs.trainer(tmp_path, ranking, logger=False).validate(module, datamodule=data, verbose=False)
    scores = module.evaluator.scores()
    calibration = Calibration(module.supernet, [data.training_images(60)[0]])
    images, labels = data.validation_images(range(100))
    with torch.no_grad():
        for path, accuracy in zip(SPACE, scores.accuracy, strict=True):
            with calibration.of(path):
                hits = int((module.supernet(images, path).argmax(1) == labels).sum())
            assert accuracy == hits
    evaluation = json.loads((tmp_path / "ranking.json").read_text())["evaluation"]
    assert (evaluation["batch_norm"], evaluation["recalibration_images"]) == ("recalibrated", 60)


def test_recalibration_needs_running_statistics(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="needs batch-norm with running statistics"):
        validate(tmp_path, Ranking(recalibrate=60))
    with pytest.raises(NASError, match="recalibrate is -1: valid are numbers of images from 0"):
        validate(tmp_path, Ranking(recalibrate=-1))


def test_the_paths_of_a_file_or_of_strata_are_scored(tmp_path: Path, table: str) -> None:
    chosen = [SPACE.encode(SPACE[i]) for i in (9, 2, 5)]
    (tmp_path / "archs.txt").write_text("\n".join(chosen))
    validate(tmp_path / "file", Ranking(paths=str(tmp_path / "archs.txt")))
    assert [row["arch"] for row in rows(tmp_path / "file" / "ranking.csv")] == chosen
    validate(tmp_path / "strata", Ranking(table, paths=5, stratified=True))
    truth = sorted(float(row["digits"]) for row in rows(Path(table)))
    scored = sorted(float(row["ground_truth"]) for row in rows(tmp_path / "strata" / "ranking.csv"))
    assert [truth.index(value) // 3 for value in scored] == [0, 1, 2, 3, 4]
    with pytest.raises(NASError, match=r"stratified needs ranking\.benchmark and a number of paths"):
        validate(tmp_path / "wrong", Ranking(paths=5, stratified=True))


def test_fit_keeps_the_scores_of_every_validation(tmp_path: Path) -> None:
    module = short_runs.supernet_module(SPACE)
    trainer = short_runs.trainer(
        tmp_path, UniformSampler(seed=0), Ranking(), max_epochs=4, check_val_every_n_epoch=2
    )
    trainer.fit(module, datamodule=short_runs.digits())
    kept = sorted(path.name for path in (tmp_path / "scores").iterdir())
    assert kept == ["epoch_0002.csv", "epoch_0004.csv"]
    last = rows(tmp_path / "scores" / "epoch_0004.csv")
    assert [row["arch"] for row in last] == [SPACE.encode(path) for path in SPACE]
    assert [float(row["accuracy"]) for row in last] == module.evaluator.scores().accuracy.tolist()


def test_scores_of_the_first_batches_are_those_of_a_validation_of_no_others(tmp_path: Path) -> None:
    validate(tmp_path, Ranking(by_batches=True), eval_batch_size=10)
    validate(tmp_path, Ranking(by_batches=True), eval_batch_size=20)
    kept = sorted(path.name for path in (tmp_path / "scores").iterdir())
    assert kept == [f"batches_000{number}.csv" for number in (1, 2, 4, 5)]
    module, data = short_runs.supernet_module(SPACE), short_runs.digits(eval_batch_size=20)
    trainer = short_runs.trainer(tmp_path / "two", Ranking(), logger=False, limit_val_batches=2)
    trainer.validate(module, datamodule=data, verbose=False)
    for file, whole in (("two/ranking.csv", "batches_0002.csv"), ("ranking.csv", "batches_0005.csv")):
        for expected, row in zip(rows(tmp_path / file), rows(tmp_path / "scores" / whole), strict=True):
            assert row == {name: expected[name] for name in ("arch", "accuracy", "loss")}
