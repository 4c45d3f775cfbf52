import math
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, LightningModule, Trainer
from short_runs import Record
from torch.nn import functional as F
from torch.optim import SGD

from lightning_nas.callbacks import LossPlateau
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.calr import CURVES, CaLR, decay_ratio
from lightning_nas.samplers import FairSampler, PathSampler, UniformSampler
from lightning_nas.spaces import NASBench201, Pooling, RestrictedSpace
from lightning_nas.spaces import Path as Architecture

# Parameters of NAS-Bench-201 without batch-norm and biases, as in the released code: smallest, largest.
RELEASED = (72752, 1524272)
BARE: dict[str, Any] = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}


@pytest.mark.parametrize(
    ("gamma_max", "expected"),
    [
        (4.0, [4, 3.612420, 2.559765, 2.194809, 1.046938, 0.25]),
        (3.0, [3, 2.724388, 1.975833, 1.716309, 0.900045, 0.333333]),
    ],
)
def test_published_ratios(gamma_max: float, expected: list[float]) -> None:
    complexities = (72752, 99632, 234032, 314672, 798512, 1524272)
    found = [decay_ratio(complexity, *RELEASED, gamma_max) for complexity in complexities]
    assert found == pytest.approx(expected, abs=1e-6)


def test_published_coefficients() -> None:
    """gamma = w * log(C) + b."""
    low, high = (decay_ratio(complexity, *RELEASED) for complexity in (100_000, 1_000_000))
    slope = (high - low) / math.log(10)
    assert slope == pytest.approx(-1.2326541722828777, rel=1e-12)
    assert low - slope * math.log(100_000) == pytest.approx(17.79933132042234, rel=1e-12)


def test_published_factors() -> None:
    """Half-way through the run."""
    calr = CaLR()
    calr._steps, calr._range = 100, RELEASED
    gammas = [decay_ratio(complexity, *RELEASED) for complexity in (72752, 314672, 1524272)]
    assert [0.5**gamma for gamma in gammas] == pytest.approx([0.0625, 0.218422, 0.840896], abs=1e-6)
    assert [0.5**gamma for gamma in (4, 2.125, 1, 0.25)] == pytest.approx(
        [0.0625, 0.229251, 0.5, 0.840896], abs=1e-6
    )
    # The last of 97,750 steps of the largest path.
    calr._steps, calr._range = 97750, (72752, 1524272)
    assert calr._share(1524272, 97749 / 97750) == pytest.approx(0.0566, abs=1e-4)
    calr._steps = 100
    module = short_runs.supernet_module()
    largest = max(module.space, key=lambda path: module.space.cost(path).params)
    params = module.space.cost(largest).params
    calr._range = (1, params)
    assert calr._factor(module, largest, 50) == pytest.approx(0.5**0.25, rel=1e-12)
    calr.eta_min = 0.1
    assert calr._factor(module, largest, 50) == pytest.approx(0.9 * 0.5**0.25 + 0.1, rel=1e-12)
    assert calr._factor(module, largest, 100) == calr._factor(module, largest, 101) == pytest.approx(0.1)


def test_curves() -> None:
    assert decay_ratio(6, 2, 10, 4.0, "linear") == pytest.approx((4 + 0.25) / 2)
    part = (math.exp(0.6) - math.exp(0.2)) / (math.e - math.exp(0.2))
    assert decay_ratio(6, 2, 10, 4.0, "exponential") == pytest.approx(4 - 3.75 * part)
    for curve in CURVES:
        ends = [decay_ratio(c, 2, 10, 3.0, curve) for c in (2, 10)]
        assert ends == pytest.approx([3, 1 / 3])
        reverse = [decay_ratio(c, 2, 10, 3.0, curve, reverse=True) for c in (2, 10)]
        assert reverse == pytest.approx([1 / 3, 3])


def sgd(params: Any) -> SGD:
    return SGD(params, lr=0.2, momentum=0.9, weight_decay=0.01)


def fit(root: Path, calr: CaLR, sampler: PathSampler, **flags: Any) -> tuple[SupernetModule, Record]:
    """The sampler comes last, as on the command line."""
    module, record = short_runs.supernet_module(schedule="constant", optimizer=sgd), Record()
    trainer = short_runs.trainer(root, calr, record, sampler, **{**BARE, "precision": "64-true", **flags})
    trainer.fit(module, datamodule=short_runs.digits())
    return module, record


def slowly_trained(
    record: Record, batches_per_step: int, released: bool, clip: float | None
) -> SupernetModule:
    """Sec. 3.2.1 written out: gradients of single paths, weighted, and plain SGD on every weight."""
    module = short_runs.supernet_module().double()
    module.load_state_dict(record.start)
    space = module.space
    logs = {path: math.log(space.cost(path).params) for path in space}
    low, high = min(logs.values()), max(logs.values())
    slope = -(4 - 0.25) / (high - low)
    gamma = {path: slope * value + 0.25 - slope * high for path, value in logs.items()}
    total = len(record.steps) // batches_per_step
    momentum: dict[str, torch.Tensor] = {}
    for t in range(total):
        window = record.steps[t * batches_per_step : (t + 1) * batches_per_step]
        r = [(1 - t / total) ** gamma[path] for _, paths in window for path in paths]
        mean = 1.0 if released else sum(r) / len(r)
        gradients: dict[str, torch.Tensor] = {}
        for (images, labels, _), paths in window:
            for path in paths:
                module.zero_grad()
                F.cross_entropy(module(images, path), labels).backward()
                for name, p in module.named_parameters():
                    if p.grad is not None:
                        part = p.grad * r[0] / mean / len(paths) / batches_per_step
                        gradients[name] = gradients.get(name, 0) + part
                r = r[1:]
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values()))
        scale = 1.0 if clip is None else min(1.0, clip / (norm + 1e-6))
        with torch.no_grad():
            for name, gradient in gradients.items():
                p = module.get_parameter(name)
                g = gradient * scale + 0.01 * p
                momentum[name] = 0.9 * momentum[name] + g if name in momentum else g
                p.sub_(0.2 * mean * momentum[name])
    return module


@pytest.mark.parametrize(
    ("sampler", "released", "accumulate", "clip"),
    [
        (UniformSampler(), False, 1, None),
        (FairSampler(), False, 1, 0.5),
        (FairSampler(), True, 1, None),
        (UniformSampler(paths=2), False, 2, 0.5),
    ],
    ids=["one path", "several paths", "released", "accumulate"],
)
def test_a_run_equals_the_formulas_written_out(
    tmp_path: Path, sampler: PathSampler, released: bool, accumulate: int, clip: float | None
) -> None:
    calr = CaLR(several_paths="released" if released else "lr_mean")
    module, record = fit(
        tmp_path,
        calr,
        sampler,
        max_epochs=50 * accumulate,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=clip,
    )
    assert len(record.steps) == 200 * accumulate
    expected = slowly_trained(record, accumulate, released, clip)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=0, atol=1e-10)
    if released:
        assert {rate for rates in record.rates for rate in rates} == {0.2}


class Weighting(UniformSampler):
    """Weights the paths of its steps."""

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Architecture, ...]:
        module.path_weights = (3.0, 0.0)
        return ((0, 0), (1, 2))


class Weights(Callback):
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        assert isinstance(pl_module, SupernetModule)
        self.last = pl_module.path_weights


def test_weights_of_the_sampler_remain(tmp_path: Path) -> None:
    weights, calr = Weights(), CaLR(gamma_max=2.0)
    supernet = short_runs.supernet_module(schedule="constant")
    trainer = short_runs.trainer(tmp_path, calr, weights, Weighting(paths=2), max_steps=2, **BARE)
    trainer.fit(supernet, datamodule=short_runs.digits())
    small, large = 0.5**2, 0.5**0.5
    assert weights.last == pytest.approx((3 * small / ((small + large) / 2), 0))


def test_every_group_keeps_its_share(tmp_path: Path) -> None:
    def grouped(params: Any) -> SGD:
        first, *others = params
        return SGD([{"params": [first], "lr": 0.01}, {"params": others}], lr=0.2)

    module, record = short_runs.supernet_module(schedule="constant", optimizer=grouped), Record()
    trainer = short_runs.trainer(tmp_path, CaLR(), record, UniformSampler(), **BARE)
    trainer.fit(module, datamodule=short_runs.digits())
    assert record.rates[0] == [0.01, 0.2]
    assert all(first * 20 == pytest.approx(second) for first, second in record.rates)
    assert 0 < record.rates[-1][1] < 0.2


def test_a_part_of_a_space_has_the_extremes_of_the_whole(tmp_path: Path) -> None:
    space = RestrictedSpace(short_runs.SMALL, ((1,), (0, 1)))
    calr = CaLR()
    module = short_runs.supernet_module(space, schedule="constant")
    trainer = short_runs.trainer(tmp_path, calr, UniformSampler(), max_epochs=1, **BARE)
    trainer.fit(module, datamodule=short_runs.digits())
    costs = [short_runs.SMALL.cost(path).params for path in short_runs.SMALL]
    assert calr._range == (min(costs), max(costs))


def test_equal_paths_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("lightning_nas.optim.calr.rank_zero_warn", told.append)
    space = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))
    module, record = short_runs.supernet_module(space, schedule="constant", optimizer=sgd), Record()
    trainer = short_runs.trainer(tmp_path, CaLR(), record, UniformSampler(), max_epochs=1, **BARE)
    trainer.fit(module, datamodule=short_runs.digits())
    [sentence] = told
    assert sentence.startswith("CaLR.complexity is 'params', and all paths have")
    assert [rate for rates in record.rates for rate in rates] == pytest.approx([0.2, 0.15, 0.1, 0.05])


def test_the_factor_is_logged_with_other_metrics(tmp_path: Path) -> None:
    _, record = fit(tmp_path, CaLR(), UniformSampler(), logger=None, log_every_n_steps=3)
    found = {
        row["step"]: row["train/lr_factor"] for row in short_runs.metrics(tmp_path) if row["train/lr_factor"]
    }
    assert list(found) == ["2", "5", "8", "11"]
    rates = [rate for rates in record.rates for rate in rates]
    assert [float(factor) * 0.2 for factor in found.values()] == pytest.approx(rates[2::3])


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"CaLR\.gamma_max is 0\.5: valid are numbers from 1"):
        CaLR(gamma_max=0.5)
    with pytest.raises(NASError, match=r"CaLR\.eta_min is 1\.0"):
        CaLR(eta_min=1.0)
    cosine = short_runs.supernet_module()
    with pytest.raises(NASError, match=r"whose model\.schedule is 'constant'"):
        short_runs.trainer(tmp_path, CaLR(), UniformSampler(), **BARE).fit(
            cosine, datamodule=short_runs.digits()
        )
    with pytest.raises(NASError, match="this one has no end"):
        fit(tmp_path, CaLR(), UniformSampler(), max_epochs=-1)
    constant = short_runs.supernet_module(schedule="constant")
    with pytest.raises(NASError, match="both LossPlateau and CaLR"):
        short_runs.trainer(tmp_path, CaLR(), LossPlateau(), UniformSampler(), **BARE).fit(
            constant, datamodule=short_runs.digits()
        )


def test_the_published_space_anneals_small_paths_first() -> None:
    space = NASBench201()
    small, large = ((0,) * 6, (3,) * 6)
    ends = space.cost(small).params, space.cost(large).params
    assert [decay_ratio(space.cost(path).params, *ends) for path in (small, large)] == [4.0, 0.25]


def test_rates_of_several_sizes_are_drawn(tmp_path: Path) -> None:
    fit(tmp_path, CaLR(eta_min=0.1), UniformSampler(seed=0), max_epochs=1)
    assert (tmp_path / "learning_rate.png").read_bytes().startswith(b"\x89PNG")
    rows = short_runs.table(tmp_path / "learning_rate.csv")
    half = {name: float(value) for name, value in rows[50].items()}
    assert half.pop("progress") == 0.5
    smallest, *_, largest = half.values()
    assert smallest == pytest.approx(0.2 * (0.9 * 0.5**4 + 0.1))
    assert largest == pytest.approx(0.2 * (0.9 * 0.5**0.25 + 0.1))
    assert len(half) == 5
