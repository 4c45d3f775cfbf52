from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, LightningModule, Trainer
from sampler_cases import separated_sgd
from torch import Tensor

from lightning_nas.callbacks import GradientVariance
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.momentum_separation import MomentumSeparation
from lightning_nas.samplers import PathSampler, UniformSampler
from lightning_nas.spaces import NASBench201, Pooling
from lightning_nas.spaces.nasbench201_graph import live_edges


class Watch(Callback):
    """Every gradient or momentum of every step, kept whole; what was trained is told from the live edges."""

    def __init__(self, source: str, accumulate: int, separated_by: int | None = None) -> None:
        self.source = source
        self.accumulate = accumulate
        self.separated_by = separated_by
        self.paths: list[Any] = []
        self.seen: list[dict[str, list[Tensor]]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.seen.append({})

    def keep(self, trainer: Trainer, module: SupernetModule) -> None:
        for edge, operation in {place for path in self.paths for place in live_edges(path)}:
            for number, cell in enumerate(module.supernet.cells):  # type: ignore[arg-type]
                for name, parameter in cell.operation(edge, operation).named_parameters():
                    [optimizer] = trainer.optimizers
                    value, cluster = parameter.grad, 0
                    if self.source == "momentum" and self.separated_by is None:
                        value = optimizer.state[parameter]["momentum_buffer"]
                    elif self.source == "momentum":
                        cluster = self.paths[0][self.separated_by]
                        value = optimizer.state[parameter]["momentum_buffers"][cluster]
                    assert value is not None
                    key = f"{number}/{edge}/{operation}/{name}/{cluster}"
                    self.seen[-1].setdefault(key, []).append(value.clone())

    def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        trained = module.paths if any(module.path_weights or (1,)) else ()
        self.paths = [*(self.paths if batch_idx % self.accumulate else ()), *trained]

    def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: Any) -> None:
        if self.source == "gradient":
            self.keep(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.source == "momentum" and (batch_idx + 1) % self.accumulate == 0:
            self.keep(trainer, module)

    def values(self, deviation: bool) -> list[float]:
        epochs = []
        for seen in self.seen:
            spreads = [
                torch.stack(values).var(0, correction=0) for values in seen.values() if len(values) > 1
            ]
            means = [(spread.sqrt() if deviation else spread).mean() for spread in spreads]
            epochs.append(float(sum(means) / len(means)))
        return epochs


@pytest.mark.parametrize(
    ("options", "flags", "inactive"),
    [
        ({}, {"gradient_clip_val": 0.1}, "skip"),
        ({"stat": "deviation"}, {"accumulate_grad_batches": 2}, "coast"),
        ({"source": "momentum"}, {}, "coast"),
        ({"source": "momentum", "stat": "deviation"}, {}, "skip"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_it_equals_the_variance_of_all_gradients_kept(
    tmp_path: Path, options: Any, flags: dict[str, Any], inactive: Any
) -> None:
    """200 batches, on a network where edges may lead nowhere."""
    measured = GradientVariance(**options)
    watch = Watch(measured.source, flags.get("accumulate_grad_batches", 1))
    space = NASBench201(channels=2, cells=1)
    module = short_runs.supernet_module(space, inactive_params=inactive)
    common = {"max_epochs": 10, "limit_val_batches": 0, "precision": "64-true", "enable_checkpointing": False}
    # On the command line the sampler comes last.
    trainer = short_runs.trainer(tmp_path, measured, UniformSampler(seed=0), watch, **common, **flags)
    trainer.fit(module, datamodule=short_runs.digits(batch_size=10))
    found = short_runs.logged(tmp_path, f"{measured.source}/{measured.stat}")
    assert found == pytest.approx(watch.values(measured.stat == "deviation"), rel=1e-10)
    assert len(found) == 10
    name = f"{measured.source}_{measured.stat}"
    shown = {int(row["epoch"]): float(row[name]) for row in short_runs.table(tmp_path / f"{name}.csv")}
    assert shown == dict(enumerate(found, start=1))
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


class Half(UniformSampler):
    """Trains nothing in every other batch."""

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> Any:
        module.path_weights = (float(step % 2),)
        return super().choose(trainer, module, step)


@pytest.mark.parametrize("source", ["gradient", "momentum"])
def test_steps_that_train_nothing_are_left_out(tmp_path: Path, source: Any) -> None:
    measured, watch = GradientVariance(source=source), Watch(source, 1)
    module = short_runs.supernet_module(NASBench201(channels=2, cells=1))
    common = {"max_epochs": 2, "limit_val_batches": 0, "precision": "64-true"}
    trainer = short_runs.trainer(tmp_path, Half(seed=0), watch, measured, **common)
    trainer.fit(module, datamodule=short_runs.digits(batch_size=10))
    assert short_runs.logged(tmp_path, f"{source}/variance") == pytest.approx(
        watch.values(deviation=False), rel=1e-10
    )


def test_separated_momenta_are_watched_one_by_one(tmp_path: Path) -> None:
    measured, watch = GradientVariance("deviation", "momentum"), Watch("momentum", 1, separated_by=3)
    space = NASBench201(channels=2, cells=1)
    module = short_runs.supernet_module(space, optimizer=separated_sgd)
    common = {"max_epochs": 4, "limit_val_batches": 0, "precision": "64-true", "enable_checkpointing": False}
    callbacks = [UniformSampler(seed=0), MomentumSeparation(decisions=(3,)), watch, measured]
    trainer = short_runs.trainer(tmp_path, *callbacks, **common)
    trainer.fit(module, datamodule=short_runs.digits(batch_size=10))
    assert short_runs.logged(tmp_path, "momentum/deviation") == pytest.approx(
        watch.values(deviation=True), rel=1e-10
    )


class Given(PathSampler):
    """Always the path of all first linear maps."""

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> Any:
        return ((1, 1),)


class Gradients(Callback):
    """Replaces the gradient of one tensor by published ones."""

    def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: Any) -> None:
        for p in module.supernet.parameters():
            p.grad = torch.zeros_like(p)
        bias = module.supernet.choice_parameters(0, 1)[1].parameter
        bias.grad = torch.tensor([[1.0, 2, 0, 0], [3, 2, 0, 0], [2, 5, 0, 0]])[trainer.global_step]


@pytest.mark.parametrize(("stat", "published"), [("variance", 1.3333), ("deviation", 1.1154)])
def test_published_vector(tmp_path: Path, stat: Any, published: float) -> None:
    """The mean over a bias of four elements, two of them constant, and three tensors that are constant."""
    measured = GradientVariance(stat)
    trainer = short_runs.trainer(tmp_path, Given(), Gradients(), measured, max_steps=3, limit_val_batches=0)
    trainer.fit(short_runs.supernet_module(schedule="constant"), datamodule=short_runs.digits())
    [found] = short_runs.logged(tmp_path, f"gradient/{stat}")
    assert found == pytest.approx(published * 2 / 4 / 4, rel=1e-4)


def test_a_run_resumed_within_an_epoch_logs_the_same(tmp_path: Path) -> None:
    def watched() -> list[Any]:
        return [GradientVariance(), GradientVariance("deviation", "momentum")]

    short_runs.fit(tmp_path / "straight", lambda: UniformSampler(seed=0), *watched())
    assert len(short_runs.logged(tmp_path / "straight", "gradient/variance")) == 3
    for step in (3, 6, 8):
        callbacks = watched()
        root = tmp_path / str(step)
        checkpoint = tmp_path / "straight" / f"{step:02d}.ckpt"
        short_runs.fit(root, lambda: UniformSampler(seed=0), *callbacks, resume_from=checkpoint)
        for name in ("gradient/variance", "momentum/deviation"):
            whole = short_runs.logged(tmp_path / "straight", name)
            assert short_runs.logged(root, name) == whole[-len(short_runs.logged(root, name)) :]
            assert len(short_runs.logged(root, name)) == (12 - step + 3) // 4


def test_networks_and_random_streams_are_left_alone(tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [GradientVariance(), GradientVariance(source="momentum")]):
        module = short_runs.supernet_module()
        trainer = short_runs.trainer(tmp_path / str(len(callbacks)), UniformSampler(seed=0), *callbacks)
        trainer.fit(module, datamodule=short_runs.digits())
        weights.append(module.state_dict())
    short_runs.assert_same(*weights)


class Other(LightningModule):
    """No supernet."""


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    def fit(module: Any, **options: Any) -> None:
        short_runs.trainer(tmp_path, UniformSampler(), GradientVariance(**options), logger=False).fit(
            module, datamodule=short_runs.digits()
        )

    with pytest.raises(NASError, match="those of Pooling have none"):
        fit(short_runs.supernet_module(Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))))
    adam = short_runs.supernet_module(optimizer=lambda p: torch.optim.Adam(p))
    with pytest.raises(NASError, match=r"GradientVariance\.source is 'momentum', but Adam keeps none of"):
        fit(adam, source="momentum")
    with pytest.raises(NASError, match="GradientVariance needs a SupernetModule, not a Other"):
        GradientVariance().setup(short_runs.trainer(tmp_path), Other(), "fit")
