import shutil
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from scipy.stats import rankdata

from lightning_nas.callbacks import DensityStatistics, Ranking
from lightning_nas.density import mean_distances, probe_indices
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.ranking import TableRow, write_table
from lightning_nas.samplers import UniformSampler

SPACE = short_runs.SMALL.adapt(in_channels=1, image_size=8)
WITHOUT_TRUTH = [
    "density_over_epochs",
    "density_vs_accuracy",
    "gradient_vs_functional_density",
    "trained_density_over_epochs",
]


def numbers(path: Path, column: str) -> list[float]:
    return [float(row[column]) for row in short_runs.table(path)]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    costs = [SPACE.cost(path) for path in SPACE]
    rows = [
        TableRow(SPACE.encode(SPACE[i]), 50.0 + 3 * i, 0, cost.params, cost.macs)
        for i, cost in enumerate(costs)
    ]
    write_table(tmp_path / "truth.csv", "digits", rows)
    return tmp_path / "truth.csv"


def fit(root: Path, *callbacks: Any, **flags: Any) -> SupernetModule:
    module = short_runs.supernet_module(SPACE)
    # Long epochs: every path is trained in each of them, so that all have a distribution.
    data = short_runs.digits(batch_size=5)
    trainer = short_runs.trainer(root, UniformSampler(seed=0), *callbacks, max_epochs=2, **flags)
    trainer.fit(module, datamodule=data)
    return module


def test_figures_and_their_numbers(tmp_path: Path, truth: Path) -> None:
    statistics = DensityStatistics(probe_size=20)
    module = fit(tmp_path / "run", statistics, Ranking(str(truth)))
    root = tmp_path / "run"
    assert sorted(path.stem for path in root.glob("*.png")) == sorted([*WITHOUT_TRUTH, "gradient_map"])
    images, labels = short_runs.digits().validation_images(probe_indices(100, 20, seed=0))
    paths = tuple(SPACE)
    logits = mean_distances(module.supernet, paths, images, labels, "functional")
    gradients = mean_distances(module.supernet, paths, images, labels, "gradient")
    assert numbers(root / "density_over_epochs.csv", "epoch_2") == pytest.approx(logits, abs=1e-12)
    assert numbers(root / "gradient_vs_functional_density.csv", "gradient_distance") == pytest.approx(
        gradients
    )
    scores = module.evaluator.scores().accuracy
    assert numbers(root / "density_vs_accuracy.csv", "supernet") == scores.tolist()
    assert numbers(root / "density_vs_accuracy.csv", "ground truth") == [50.0 + 3 * i for i in range(9)]
    # Path i is number i in the truth: a better place by score is overrated.
    errors = numbers(root / "gradient_map.csv", "rank_error")
    assert errors == (rankdata(scores) - range(1, 10)).tolist()
    trained = short_runs.table(root / "trained_density_over_epochs.csv")
    assert sum(int(row[f"epoch_{epoch}"]) for row in trained for epoch in (1, 2)) == 80


def test_without_truth_nothing_is_overrated(tmp_path: Path) -> None:
    fit(tmp_path, DensityStatistics(every_n_epochs=2, probe_size=20), Ranking())
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == WITHOUT_TRUTH
    assert list(short_runs.table(tmp_path / "density_over_epochs.csv")[0]) == ["arch", "epoch_2"]


def test_it_changes_nothing_and_resumes(tmp_path: Path, truth: Path) -> None:
    """Continued from the end of the first epoch and from the middle of the second."""
    plain = fit(tmp_path / "plain", Ranking(str(truth)))
    checkpoints = short_runs.EveryCheckpoint(every_n_train_steps=1)
    watched = fit(tmp_path / "straight", DensityStatistics(probe_size=20), Ranking(str(truth)), checkpoints)
    short_runs.assert_same(plain.state_dict(), watched.state_dict())
    for step in ("40", "55"):
        root = tmp_path / step
        root.mkdir()
        shutil.copy(tmp_path / "straight" / "metrics.csv", root)
        module = short_runs.supernet_module(SPACE)
        statistics = DensityStatistics(probe_size=20)
        trainer = short_runs.trainer(
            root, UniformSampler(seed=0), statistics, Ranking(str(truth)), max_epochs=2
        )
        checkpoint = tmp_path / "straight" / f"{step}.ckpt"
        trainer.fit(module, datamodule=short_runs.digits(batch_size=5), ckpt_path=checkpoint)
        for file in (tmp_path / "straight").glob("density*.csv"):
            assert (root / file.name).read_text() == file.read_text(), file.name
        assert short_runs.metrics(root) == short_runs.metrics(tmp_path / "straight")


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"DensityStatistics\.every_n_epochs is 0"):
        DensityStatistics(every_n_epochs=0)
    with pytest.raises(NASError, match="probe_size is 500, but the validation split has 100 images"):
        fit(tmp_path, DensityStatistics(probe_size=500))
    with pytest.raises(NASError, match=r"DensityStatistics compares .*, but ranking\.paths leaves one"):
        fit(tmp_path, Ranking(paths=1), DensityStatistics())
    assert torch.is_grad_enabled()
