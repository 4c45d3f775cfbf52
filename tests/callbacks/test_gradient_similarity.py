from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
from lightning import LightningModule
from scipy import stats
from torch import nn
from torch.nn import functional as F
from toy_space import Toy

from lightning_nas.callbacks import GradientSimilarity
from lightning_nas.callbacks.gradient_similarity import draw_pair, edit_distance
from lightning_nas.density import probe_indices
from lightning_nas.errors import NASError
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import ListedSpace, NASBench201, NormPolicy, Pooling
from lightning_nas.spaces import Path as Architecture

SPACE = NASBench201(channels=2, cells=1)


def rows(root: Path) -> list[dict[str, str]]:
    return short_runs.table(root / "gradient_similarity.csv")


def gradients(supernet: nn.Module, path: Architecture, images: Any, labels: Any) -> dict[str, Any]:
    """By ordinary back-propagation, of all weights that get one."""
    supernet.zero_grad(set_to_none=True)
    F.cross_entropy(supernet(images, path), labels).backward()
    return {name: p.grad.numpy().ravel() for name, p in supernet.named_parameters() if p.grad is not None}


def test_it_equals_the_cosine_of_back_propagated_gradients(tmp_path: Path) -> None:
    """On a network where edges may lead nowhere, and paths of few weights share fewer."""
    copies, measured = (
        short_runs.Copies(),
        GradientSimilarity(pairs=25, every_n_epochs=2, probe_size=20, seed=3),
    )
    module = short_runs.supernet_module(SPACE)
    options = {"max_epochs": 5, "limit_val_batches": 0, "precision": "64-true"}
    trainer = short_runs.trainer(tmp_path, UniformSampler(seed=0), measured, copies, **options)
    data = short_runs.digits()
    trainer.fit(module, datamodule=data)

    images, labels = data.validation_images(probe_indices(100, 20, seed=3))
    found = rows(tmp_path)
    assert [row["epoch"] for row in found] == ["2"] * 25 + ["4"] * 25
    sizes, of_layers = set(), defaultdict[tuple[str, str], list[float]](list)
    for row in found:
        supernet = copies.supernets[4 * int(row["epoch"])]
        paths = [SPACE.decode(row[name]) for name in ("arch", "other")]
        mine, theirs = (gradients(supernet, path, images.double(), labels) for path in paths)
        shared = [name for name in mine if name in theirs]
        a, b = (np.concatenate([g[name] for name in shared]) for g in (mine, theirs))
        expected = a @ b / np.sqrt((a @ a) * (b @ b))
        assert float(row["similarity"]) == pytest.approx(expected, abs=1e-10)
        assert int(row["edit_distance"]) == sum(x != y for x, y in zip(*paths, strict=True))
        sizes.add(len(shared))
        for name in shared:
            if (norm := np.sqrt((mine[name] @ mine[name]) * (theirs[name] @ theirs[name]))) > 0:
                of_layers[row["epoch"], name].append(mine[name] @ theirs[name] / norm)
    assert len(sizes) > 3
    means = [np.mean([float(row["similarity"]) for row in found if row["epoch"] == e]) for e in "24"]
    assert short_runs.logged(tmp_path, "gradient/similarity") == pytest.approx(means, abs=1e-10)
    assert (tmp_path / "gradient_similarity.png").exists()
    layers = short_runs.table(tmp_path / "gradient_similarity_layers.csv")
    assert [(row["epoch"], row["weight"]) for row in layers] == sorted(of_layers)
    for row in layers:
        expected_layer = of_layers[row["epoch"], row["weight"]]
        assert int(row["pairs"]) == len(expected_layer)
        assert float(row["similarity"]) == pytest.approx(np.mean(expected_layer), abs=1e-10)


def test_pairs_differ_in_one_decision_or_in_all() -> None:
    pairs = [draw_pair(SPACE, 0, number) for number in range(2000)]
    assert len(set(pairs)) > 1900
    found = np.bincount([edit_distance(SPACE, *pair) for pair in pairs], minlength=7)
    # Of five operations one in five mutants is the old one.
    probability = np.linspace(0, 1, 10_001)[:, None]
    expected = stats.binom.pmf(range(7), 6, 0.8 * probability).mean(0)[1:]
    assert found[0] == 0
    assert stats.chisquare(found[1:], 2000 * expected / expected.sum()).pvalue > 1e-3
    bases = np.array([path for path, _ in pairs])
    for edge in bases.T:
        assert np.bincount(edge, minlength=5) == pytest.approx(np.full(5, 400), abs=90)  # 5 deviations


def test_pairs_of_other_spaces() -> None:
    pooling = Pooling(blocks=(2, 2, 2), channels=(2, 2, 4))
    assert {edit_distance(pooling, *draw_pair(pooling, 0, number)) for number in range(50)} == {2, 4}
    two = ListedSpace(Toy(layers=3), ((0, 0, 0), (1, 2, 1)))
    assert {frozenset(draw_pair(two, 0, number)) for number in range(5)} == {frozenset(two)}


def test_a_resumed_run_measures_the_same(tmp_path: Path) -> None:
    files = ("gradient_similarity.csv", "gradient_similarity_layers.csv", "gradient_similarity.png")
    short_runs.assert_resumes(
        tmp_path,
        partial(GradientSimilarity, pairs=3, probe_size=16),
        (3, 4, 8, 10),
        files,
        "gradient/similarity",
    )
    assert len(rows(tmp_path / "straight")) == 9


@pytest.mark.parametrize("norm", [NormPolicy(), NormPolicy(running_stats=True)])
def test_training_is_left_alone(tmp_path: Path, norm: NormPolicy) -> None:
    watcher = partial(GradientSimilarity, pairs=3, probe_size=16)
    short_runs.assert_training_is_left_alone(tmp_path, watcher, SPACE, norm)


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"GradientSimilarity\.pairs is 0: valid are numbers from 1"):
        GradientSimilarity(pairs=0)
    with pytest.raises(NASError, match=r"GradientSimilarity\.every_n_epochs is 0"):
        GradientSimilarity(every_n_epochs=0)
    with pytest.raises(NASError, match="GradientSimilarity needs a SupernetModule, not a LightningModule"):
        GradientSimilarity().setup(short_runs.trainer(tmp_path), LightningModule(), "fit")

    def fit(space: Any, **options: Any) -> None:
        callbacks = [UniformSampler(), GradientSimilarity(**options)]
        short_runs.trainer(tmp_path, *callbacks, logger=False).fit(
            short_runs.supernet_module(space), datamodule=short_runs.digits()
        )

    with pytest.raises(NASError, match=r"compares paths, but model\.space has one"):
        fit(ListedSpace(SPACE, (SPACE[7],)))
    with pytest.raises(NASError, match=r"GradientSimilarity\.probe_size is 15, but batch-norm"):
        fit(SPACE, probe_size=15)
    with pytest.raises(NASError, match="probe_size is 101, but the validation split has 100 images"):
        fit(SPACE, probe_size=101)
