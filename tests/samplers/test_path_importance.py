import math
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import short_runs
import torch
from lightning import Trainer
from path_importance_by_hand import PathImportanceByHand, owned_of_201, owned_of_toy
from torch.optim import SGD
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import PathImportanceSampler
from lightning_nas.samplers.path_importance import operation_norms, operations_of, path_probabilities
from lightning_nas.spaces import (
    DARTS,
    AutoFormer,
    ListedSpace,
    MobileNetV2,
    NASBench201,
    NDSResNet,
    Pooling,
    RestrictedSpace,
    SearchSpace,
)
from lightning_nas.spaces.nasbench201_graph import live_edges

TINY_201 = NASBench201(channels=2, cells=1, image_size=8, in_channels=1)
NO_OUTPUT = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}


def fit(root: Path, sampler: PathImportanceSampler, space: SearchSpace, **flags: Any) -> SupernetModule:
    module = short_runs.supernet_module(space)
    options = {"max_epochs": 2, **NO_OUTPUT, **flags}
    short_runs.trainer(root, sampler, **options).fit(module, datamodule=short_runs.digits())
    return module


def test_published_vector(tmp_path: Path) -> None:
    """Three steps of the released code for NAS-Bench-201: sums of norms over the edges with an operation."""
    sampler = PathImportanceSampler()
    module = fit(tmp_path, sampler, TINY_201, limit_train_batches=1)
    operations = operations_of(TINY_201, module.supernet, "operation")
    assert operations.names == ("nor_conv_1x1", "nor_conv_3x3")
    assert operations.places.tolist() == [[-1, -1, 0, 1, -1]] * 6
    sampler.importance = torch.zeros(2, dtype=torch.float64)
    expected = iter([[1.5, 2.0], [1.5, 3.5], [1.75, 3.25]])
    for norms in ({0: 6 / 2, 1: 8 / 2}, {1: 5 / 1}, {0: 2 / 1, 1: 9 / 3}):
        with patch("lightning_nas.samplers.path_importance.operation_norms", lambda *_, x=norms: x):
            sampler._measure(module)
        assert sampler.importance.tolist() == next(expected)
    for delta, pi in (
        (0.5, (0.1, 0.1, 0.275, 0.425, 0.1)),
        (0.996, (0.0008, 0.0008, 0.3494, 0.6482, 0.0008)),
    ):
        found = path_probabilities(sampler.importance, operations, delta, "zero", floor=0.0)
        np.testing.assert_allclose(found.numpy(), [pi] * 6, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "inactive", "accumulate"),
    [
        ({}, "skip", 1),
        ({"granularity": "decision", "accumulate": "mean", "capture": "pre_clip", "paths": 2}, "skip", 2),
        ({"param_free": "mean", "update": "step", "schedule": "falling", "floor": 0.05}, "coast", 2),
        ({"param_free": "uniform", "schedule": "constant", "delta": 0.7, "update": "step"}, "skip", 1),
        ({"granularity": "decision", "param_free": "uniform", "paths": 3}, "coast", 1),
    ],
    ids=["released", "paper", "mean-step-falling", "uniform-step-constant", "decision-uniform"],
)
@pytest.mark.parametrize(
    "space",
    [
        pytest.param(Toy(layers=3, width=4), id="toy"),
        pytest.param(TINY_201, id="nasbench201", marks=pytest.mark.slow),
    ],
)
def test_it_equals_the_method_written_out(
    tmp_path: Path, space: SearchSpace, options: dict[str, Any], inactive: Any, accumulate: int
) -> None:
    epochs, data = 10, short_runs.digits(batch_size=10)
    constant: dict[str, Any] = {"schedule": "constant", "inactive_params": inactive}
    module, twin = (short_runs.supernet_module(space, **constant).double() for _ in range(2))
    toy = isinstance(space, Toy)
    owned = (owned_of_toy if toy else owned_of_201)(twin)
    slow = PathImportanceByHand(
        twin,
        options,
        accumulate,
        0.5,
        owned,
        lambda path: (
            set(enumerate(path)) if toy else {(edge.number, edge.choice) for edge in live_edges(path)}
        ),
    )
    loader = data.train_dataloader()
    batches = [batch for _ in range(epochs) for batch in loader]
    assert len(batches) == 200
    slow.run(batches, epochs, SGD(twin.parameters(), lr=0.1, momentum=0.9), inactive == "coast")

    sampler = PathImportanceSampler(**options, seed=0)
    seen: list[Any] = []
    choose = sampler.choose

    def kept(trainer: Trainer, module: SupernetModule, step: int) -> Any:
        seen.append(choose(trainer, module, step))
        return seen[-1]

    sampler.choose = kept  # type: ignore[method-assign]
    flags = {
        "accumulate_grad_batches": accumulate,
        "gradient_clip_val": 0.5,
        "precision": "64-true",
        **NO_OUTPUT,
    }
    short_runs.trainer(tmp_path, sampler, max_epochs=epochs, **flags).fit(module, datamodule=data)

    assert seen == slow.paths
    assert sampler.probabilities is not None
    np.testing.assert_allclose(sampler.probabilities.numpy(), slow.pi, rtol=0, atol=1e-10)
    assert sampler.importance is not None
    places = sampler._operations.places
    for decision, choice in (places >= 0).nonzero().tolist():
        expected = slow.g.get(slow.key(decision, choice), 0.0)
        assert float(sampler.importance[places[decision, choice]]) == pytest.approx(expected, rel=1e-10)
    assert len(set(sampler.importance.tolist())) > 1
    for mine, other in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)


def test_draws_follow_the_probabilities_of_every_decision() -> None:
    """Two layers of six and seven operations and some that are cut off, and no choice depends on another."""
    space = RestrictedSpace(MobileNetV2(), ((0, 2, 5), *MobileNetV2().choices[1:]))
    sampler = PathImportanceSampler(paths=1000, seed=0)
    module = SupernetModule(Toy(layers=1))
    rng = np.random.default_rng(0)
    operations = operations_of(space, MobileNetWeights(), "operation")  # type: ignore[arg-type]
    importance = torch.from_numpy(rng.random(len(operations.names)))
    sampler.probabilities = path_probabilities(
        importance, operations, delta=0.8, param_free="zero", floor=0.0
    )
    assert len(operations.names) == 6
    trainer: Any = None
    drawn = np.array([path for step in range(100) for path in sampler.choose(trainer, module, step)])
    for decision, pi in enumerate(sampler.probabilities.numpy()):
        counts = np.bincount(drawn[:, decision], minlength=7)
        possible = pi > 0
        assert not counts[~possible].any()
        expected = 100_000 * pi[possible]
        # With 21 decisions of at most 6 degrees of freedom one in a thousand tests would fail.
        assert ((counts[possible] - expected) ** 2 / expected).sum() < 32
    both = np.bincount(drawn[:, 1] * 7 + drawn[:, 2], minlength=49)
    expected = 100_000 * np.outer(sampler.probabilities[1], sampler.probabilities[2]).ravel()
    assert ((both - expected) ** 2 / expected).sum() < 84


class MobileNetWeights:
    """Which choices have weights: all but the identity."""

    def choice_parameters(self, decision: int, choice: int) -> list[int]:
        return [1] if choice < 6 else []


def test_operations_of_unequal_layers_share_their_importance() -> None:
    space = MobileNetV2()
    operations = operations_of(space, MobileNetWeights(), "operation")  # type: ignore[arg-type]
    importance = torch.arange(1.0, 7, dtype=torch.float64)
    found = path_probabilities(importance, operations, delta=1.0, param_free="zero", floor=0.0)
    torch.testing.assert_close(found.sum(1), torch.ones(21, dtype=torch.float64), rtol=0, atol=1e-15)
    for row, number in zip(found, space.num_choices, strict=True):
        torch.testing.assert_close(row, torch.tensor([*range(1, 7), 0], dtype=torch.float64) / 21)
        assert number in (6, 7)
    kept = path_probabilities(importance, operations, delta=0.5, param_free="uniform", floor=0.0)
    assert [float(row[6]) for row in kept] == [1 / 7 if m == 7 else 0.0 for m in space.num_choices]
    mean = path_probabilities(importance, operations, delta=1.0, param_free="mean", floor=0.01)
    torch.testing.assert_close(mean[1, 6], torch.tensor(0.01 + 0.93 * 3.5 / 24.5, dtype=torch.float64))
    assert mean[1].min() > 0.01


def test_removed_choices_are_never_drawn() -> None:
    space = RestrictedSpace(TINY_201, ((0, 3), (2, 3), (1, 4), (0, 1, 2, 3, 4), (2,), (3, 4)))
    operations = operations_of(space, space.build_supernet(), "operation")
    assert operations.names == ("nor_conv_3x3", "nor_conv_1x1")
    pi = path_probabilities(torch.tensor([3.0, 1.0]).double(), operations, 0.5, "zero", floor=0.0)
    expected: list[list[float]] = [
        [0.25, 0, 0, 0.75, 0],
        [0, 0, 0.375, 0.625, 0],
        [0, 0.5, 0, 0, 0.5],
        [0.1, 0.1, 0.225, 0.475, 0.1],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0.75, 0.25],
    ]
    np.testing.assert_allclose(pi.numpy(), expected, atol=1e-15)


def test_inputs_of_darts_stay_uniform_and_only_what_ran_is_measured() -> None:
    space = DARTS(channels=2, cells=3, image_size=8)
    supernet = space.build_supernet()
    operations = operations_of(space, supernet, "decision")
    assert (operations.places[::3] == -1).all()
    path = space.sample(np.random.default_rng(0))
    supernet(torch.randn(2, 3, 8, 8), path).sum().backward()
    norms = operation_norms(supernet, operations.places, [path])
    measured = set()
    for decision, choice in enumerate(path):
        place = int(operations.places[decision, choice])
        parts = supernet.choice_parameters(decision, choice) if place >= 0 else []
        ran = [float(p.grad.norm()) for p, _ in parts if p.grad is not None]
        if ran:
            measured.add(place)
            assert norms[place] == pytest.approx(sum(ran), rel=1e-5)
    assert norms.keys() == measured
    # The weights of an operation on an input between the first and the last one are those of the pair.
    assert 0 < len(measured) < int((operations.places[range(len(path)), path] >= 0).sum())


def test_of_shared_tensors_a_choice_has_its_slice() -> None:
    small = NDSResNet(depths=(1, 2), widths=(4, 8), stem_width=4, image_size=8)
    supernet = small.build_supernet()
    operations = operations_of(small, supernet, "decision")
    path = small[0]
    supernet(torch.randn(2, 3, 8, 8), path).sum().backward()
    norms = operation_norms(supernet, operations.places, [path, path])
    assert norms
    smaller = 0
    for decision, choice in enumerate(path):
        parts = supernet.choice_parameters(decision, choice)
        sliced = sum(float(p.grad[i].norm()) for p, i in parts if p.grad is not None)
        whole = sum(float(p.grad.norm()) for p, _ in parts if p.grad is not None)
        # Both paths used it.
        assert norms[int(operations.places[decision, choice])] == pytest.approx(sliced / 2, rel=1e-4)
        smaller += sliced < whole


def test_without_weights_of_choices_paths_stay_uniform(tmp_path: Path) -> None:
    sampler = PathImportanceSampler(schedule="constant", update="step")
    space = Pooling(blocks=(2, 2, 2), channels=(2, 2, 4))
    with patch("lightning_nas.samplers.path_importance.rank_zero_info") as said:
        fit(tmp_path, sampler, space)
    [[sentence]] = [call.args for call in said.call_args_list]
    assert sentence == (
        "PathImportanceSampler samples uniformly: no choice of Pooling has weights of its own"
    )
    assert sampler.probabilities is not None
    assert sampler.probabilities.tolist() == [[pytest.approx(1 / space.size)] * space.size]


@pytest.mark.parametrize("factor", [math.nan, math.inf, 0.0])
def test_gradients_that_are_zero_or_not_finite_are_left_out(factor: float) -> None:
    supernet = TINY_201.build_supernet()
    operations = operations_of(TINY_201, supernet, "operation")
    path = (2, 3, 1, 2, 1, 1)
    supernet(torch.randn(2, 1, 8, 8), path).sum().backward()
    for part in supernet.choice_parameters(1, 3):
        assert part.parameter.grad is not None
        part.parameter.grad *= factor
    norms = operation_norms(supernet, operations.places, [path])
    assert norms[1] == 0 if factor == 0 else not math.isfinite(norms[1])
    sampler = PathImportanceSampler()
    sampler.importance, sampler.count = torch.tensor([1.0, 2.0]).double(), torch.tensor([1, 1])
    sampler._operations, sampler._window = operations, [path]
    module = SupernetModule(TINY_201)
    module.supernet = supernet
    sampler._measure(module)
    assert sampler.importance.tolist() == [(1 + norms[0]) / 2, 2.0]
    assert sampler.count.tolist() == [2, 1]


def test_leftovers_of_coasting_weights_are_not_measured() -> None:
    """A dead edge has the gradient zero, or that of an earlier step, where weights coast."""
    supernet = TINY_201.build_supernet()
    operations = operations_of(TINY_201, supernet, "operation")
    for parameter in supernet.parameters():
        parameter.grad = torch.ones_like(parameter)
    alone, dead = (0, 0, 0, 3, 0, 0), (0, 0, 2, 3, 0, 0)
    assert operation_norms(supernet, operations.places, [alone]) == operation_norms(
        supernet, operations.places, [dead]
    )
    assert operation_norms(supernet, operations.places, [(0,) * 6]) == {}


def test_probabilities_are_logged_once_per_epoch(tmp_path: Path) -> None:
    sampler = PathImportanceSampler(granularity="decision", schedule="constant")
    fit(tmp_path, sampler, Toy(layers=2, width=4), logger=None, max_epochs=3)
    rows = [row for row in short_runs.metrics(tmp_path) if row.get("path_importance/0/1")]
    assert [row["step"] for row in rows] == ["4", "8"]
    assert sampler.probabilities is not None
    columns = [float(rows[-1][f"path_importance/{d}/{c}"]) for d in (0, 1) for c in (1, 2)]
    assert columns == sampler.probabilities[:, 1:].flatten().tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delta": 1.5}, r"^sampler\.delta is 1\.5: valid are numbers from 0 to 1$"),
        ({"floor": -0.1}, r"^sampler\.floor is -0\.1: a probability is at least 0 and below 1$"),
        ({"floor": 1.0}, r"^sampler\.floor is 1\.0: "),
        ({"paths": 0}, r"^sampler\.paths is 0: "),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        PathImportanceSampler(**options)


def test_what_does_not_fit_the_space_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"^sampler\.floor is 0\.4: with 3 choices it is below 0\.3333$"):
        fit(tmp_path, PathImportanceSampler(floor=0.4), Toy(layers=2))
    listed = ListedSpace(Toy(layers=2), ((0, 1), (1, 2)))
    with pytest.raises(NASError, match="ListedSpace is not a product of choices"):
        fit(tmp_path, PathImportanceSampler(), listed)
    assert not AutoFormer().is_product
