from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.optim import SGD
from torch.utils.data import DataLoader
from toy_space import Toy

from lightning_nas.callbacks import RunCheckpoint
from lightning_nas.data import TrainingBatch
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import PathSampler, UniformSampler
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces import Pooling

NO_VALIDATION = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
SCALARS = Toy(layers=1, width=2, num_classes=2, image_size=4)


class Fixed(PathSampler):
    """Trains given paths, step by step."""

    def __init__(self, *steps: tuple[Architecture, ...], weights: tuple[tuple[float, ...], ...] = ()) -> None:
        super().__init__(seed=0)
        self.steps = steps
        self.weights = weights

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Architecture, ...]:
        if self.weights:
            module.path_weights = self.weights[step % len(self.weights)]
        return self.steps[step % len(self.steps)]


class Gradients(Callback):
    """Remembers the gradients that the optimizer is about to see, before clipping."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor | None]] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: object
    ) -> None:
        self.seen.append(
            {n: None if p.grad is None else p.grad.clone() for n, p in pl_module.named_parameters()}
        )


def train(root: Path, module: SupernetModule, *callbacks: Any, **flags: Any) -> list[TrainingBatch]:
    """Trains, and returns the batches in their order."""
    data = short_runs.digits()
    options = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False, **flags}
    loader = data.train_dataloader()
    batches = [batch for _ in range(3) for batch in loader]
    short_runs.trainer(root, *callbacks, **options).fit(module, datamodule=data)
    return batches


def plain_loop(
    module: SupernetModule,
    batches: list[TrainingBatch],
    steps: tuple[tuple[Architecture, ...], ...],
    accumulate: int = 1,
    clip: float | None = None,
) -> None:
    """The same training written out: all paths in one summed loss per batch."""
    optimizer = SGD(module.parameters(), lr=0.1, momentum=0.9)
    for start in range(0, len(batches), accumulate):
        optimizer.zero_grad()
        for i in range(start, start + accumulate):
            paths = steps[i % len(steps)]
            x, y, _ = batches[i]
            sum(F.cross_entropy(module(x, path), y) for path in paths).div(len(paths) * accumulate).backward()  # type: ignore[union-attr]
        if clip:
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()


@pytest.mark.parametrize("paths", [1, 3])
@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.2}])
def test_training_equals_a_plain_loop(tmp_path: Path, paths: int, flags: dict[str, Any]) -> None:
    space = short_runs.SMALL
    steps = tuple(tuple(space[(3 * i + j) % 9] for j in range(paths)) for i in range(12))
    module, twin = (short_runs.supernet_module(schedule="constant") for _ in range(2))
    batches = train(tmp_path, module, Fixed(*steps), **flags)
    plain_loop(twin, batches, steps, flags.get("accumulate_grad_batches", 1), flags.get("gradient_clip_val"))
    for a, b in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_single_path_training_is_bitwise_that_of_a_plain_loop(tmp_path: Path) -> None:
    steps = tuple((path,) for path in short_runs.SMALL)
    module, twin = (short_runs.supernet_module(schedule="constant") for _ in range(2))
    plain_loop(twin, train(tmp_path, module, Fixed(*steps)), steps)
    short_runs.assert_same(module.state_dict(), twin.state_dict())


@NO_VALIDATION
@pytest.mark.parametrize(
    ("inactive", "expected"),
    [
        ("skip", [(0.9, 1.0), (0.9, 0.9), (0.71, 0.9)]),
        ("coast", [(0.9, 1.0), (0.81, 0.9), (0.629, 0.81)]),
    ],
)
def test_inactive_parameters(tmp_path: Path, inactive: Any, expected: list[tuple[float, float]]) -> None:
    """Scalars p = q = 1 with gradient 1 where active, lr .1, momentum .9; the steps activate p, q, p."""
    module = SupernetModule(SCALARS, schedule="constant", inactive_params=inactive)
    p, q = (module.supernet.choice_parameters(0, choice)[1].parameter for choice in (1, 2))  # the biases
    seen = []

    class Ones(Callback):
        def on_before_optimizer_step(
            self, trainer: Trainer, pl_module: LightningModule, optimizer: object
        ) -> None:
            (p if module.paths == ((1,),) else q).grad = torch.ones(2)

        def on_train_batch_end(self, *_: Any) -> None:
            seen.append((p.detach().mean().item(), q.detach().mean().item()))

    with torch.no_grad():
        p.fill_(1)
        q.fill_(1)
    x, y = torch.randn(2, 1, 4, 4), torch.tensor([0, 1])
    loader = torch.utils.data.DataLoader(short_runs.Batches(*[(x, y)] * 3), batch_size=None)
    options = {"max_epochs": 1, "limit_val_batches": 0, "logger": False, "enable_checkpointing": False}
    short_runs.trainer(tmp_path, Fixed(((1,),), ((2,),), ((1,),)), Ones(), **options).fit(module, loader)
    assert seen == [pytest.approx(pair, abs=1e-6) for pair in expected]


def test_coasting_survives_validation(tmp_path: Path) -> None:
    module = short_runs.supernet_module(inactive_params="coast")
    steps = [((1, 1),)] * 4 + [((0, 0),)] * 8
    gradients = Gradients()
    trainer = short_runs.trainer(tmp_path, Fixed(*steps), gradients, max_epochs=2, logger=False)
    trainer.fit(module, datamodule=short_runs.digits())
    owned = gradients.seen[-1]["supernet.choices.0.0.0.weight"]
    assert owned is not None
    assert not owned.any()


@NO_VALIDATION
@pytest.mark.parametrize(
    ("reduce", "shared", "owned"), [("sum", 6.0, 2.0), ("mean", 2.0, 2 / 3), ("active_mean", 2.0, 2.0)]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_grad_reduce_of_the_worked_example(
    tmp_path: Path,
    reduce: Any,
    shared: float,
    owned: float,
    accumulate: int,
) -> None:
    """Shared gradients 1, 2, 3 of three paths; a choice that only the second path uses has gradient 2."""

    class Example(SupernetModule):
        def _loss(self, batch: Any, path: Architecture) -> Tensor:
            weight = {0: 1.0, 1: 2.0, 2: 3.0}[path[0]]
            stem = self.supernet.get_parameter("head.bias")
            choice = self.supernet.choice_parameters(0, 1)[1].parameter
            return weight * (stem.sum() + (choice.sum() if path == (1,) else 0.0))

    torch.manual_seed(0)
    module = Example(SCALARS, grad_reduce=reduce)
    gradients = Gradients()
    loader = torch.utils.data.DataLoader(
        short_runs.Batches(*[(torch.zeros(2, 1, 4, 4), torch.zeros(2).long())] * 2), batch_size=None
    )
    flags = {"max_epochs": 1, "limit_val_batches": 0, "logger": False, "enable_checkpointing": False}
    sampler = Fixed(((0,), (1,), (2,)))
    short_runs.trainer(tmp_path, sampler, gradients, accumulate_grad_batches=accumulate, **flags).fit(
        module, loader
    )
    seen = gradients.seen[0]
    head, choice = seen["supernet.head.bias"], seen["supernet.choices.0.0.0.bias"]
    assert head is not None
    assert choice is not None
    assert head.tolist() == pytest.approx([shared] * 2)
    assert choice.tolist() == pytest.approx([owned] * 2)
    assert seen["supernet.choices.0.1.0.bias"] is None


def test_active_mean_equals_mean_where_everything_is_shared(tmp_path: Path) -> None:
    space = Pooling(blocks=(1, 1, 1), channels=(2, 2, 4))
    modules = [short_runs.supernet_module(space, grad_reduce=reduce) for reduce in ("mean", "active_mean")]
    for module in modules:
        train(tmp_path, module, UniformSampler(paths=3, seed=0))
    short_runs.assert_same(modules[0].state_dict(), modules[1].state_dict())


def test_three_paths_need_the_memory_of_one(tmp_path: Path) -> None:
    """Bytes saved for backward that are alive at the same time."""

    def peak(paths: int) -> int:
        alive, highest = 0, 0

        class Saved:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal alive, highest
                self.tensor = tensor
                alive += tensor.nbytes
                highest = max(highest, alive)

            def __del__(self) -> None:
                nonlocal alive
                alive -= self.tensor.nbytes

        path = (4,)
        with saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            train(
                tmp_path,
                short_runs.supernet_module(Pooling(channels=(2, 2, 4))),
                Fixed((path,) * paths),
                max_steps=2,
            )
        return highest

    one, three = peak(1), peak(3)
    assert one > 100_000
    assert abs(three - one) < 0.1 * one


def test_training_without_a_sampler_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="no path was chosen for this step: add a sampler"):
        train(tmp_path, short_runs.supernet_module())


@pytest.mark.parametrize("flags", [{"log_every_n_steps": 1}, {"log_every_n_steps": 1000}])
def test_a_loss_that_is_not_finite_stops_the_run_before_a_checkpoint(
    tmp_path: Path, flags: dict[str, int]
) -> None:
    module = short_runs.supernet_module(
        optimizer=lambda params: SGD(params, lr=float("inf")), schedule="constant"
    )
    with pytest.raises(
        NASError, match=r"train/loss is (nan|inf) at step \d+ \(path \d\d\): lower the learning rate"
    ):
        short_runs.trainer(tmp_path, UniformSampler(seed=0), **flags).fit(
            module, datamodule=short_runs.digits()
        )
    assert not (tmp_path / "last.ckpt").exists()


def test_losses_are_logged_once_per_interval(tmp_path: Path) -> None:
    short_runs.trainer(tmp_path, UniformSampler(seed=0), log_every_n_steps=5, limit_val_batches=0).fit(
        short_runs.supernet_module(), datamodule=short_runs.digits()
    )
    assert [row["step"] for row in short_runs.metrics(tmp_path)] == ["4", "9"]


def test_validation_scores_the_paths(tmp_path: Path) -> None:
    module = short_runs.supernet_module()
    data = short_runs.digits(eval_batch_size=40)
    module.eval_paths = [(0, 1), (2, 2)]
    [logged] = short_runs.trainer(tmp_path, logger=False).validate(module, datamodule=data, verbose=False)
    x, y = (torch.cat(parts) for parts in zip(*data.val_dataloader(), strict=True))
    accuracy = [float((module(x, path).argmax(1) == y).float().mean()) * 100 for path in module.eval_paths]
    assert module.evaluator.scores().accuracy.tolist() == pytest.approx(accuracy)
    assert logged["val/accuracy"] == pytest.approx(sum(accuracy) / 2)
    assert logged["val/accuracy_max"] == pytest.approx(max(accuracy))


def test_predict_needs_an_architecture(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"model\.predict_path is not given"):
        short_runs.trainer(tmp_path).predict(short_runs.supernet_module(), datamodule=short_runs.digits())
    with pytest.raises(NASError, match="architecture '77' is not in the toy space"):
        short_runs.supernet_module(predict_path="77")


def test_standalone_has_the_settings_of_the_supernet() -> None:
    module = short_runs.supernet_module(label_smoothing=0.1, final_lr=0.01)
    alone = module.standalone((1, 0))
    assert (alone.label_smoothing, alone.final_lr, alone.schedule) == (0.1, 0.01, "cosine")
    assert alone(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_accumulation_logs_one_row_per_optimizer_step(tmp_path: Path) -> None:
    module = short_runs.supernet_module()
    losses: list[float] = []

    class Losses(Callback):
        def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
            losses.append(2 * float(loss.detach()))  # Lightning divides by the batches of the window

    trainer = short_runs.trainer(
        tmp_path, UniformSampler(seed=0), Losses(), accumulate_grad_batches=2, max_epochs=1
    )
    trainer.fit(module, datamodule=short_runs.digits())
    rows = [row for row in short_runs.metrics(tmp_path) if row["train/loss"]]
    assert [row["step"] for row in rows] == ["0", "1"]
    means = [(losses[0] + losses[1]) / 2, (losses[2] + losses[3]) / 2]
    assert [float(row["train/loss"]) for row in rows] == pytest.approx(means)


def test_weights_that_are_not_finite_never_replace_a_checkpoint(tmp_path: Path) -> None:
    module = short_runs.supernet_module(
        optimizer=lambda params: SGD(params, lr=float("inf")), schedule="constant"
    )
    checkpoint = RunCheckpoint(every_n_train_steps=1)
    with pytest.raises(NASError, match="weights are not finite after step 1"):
        short_runs.trainer(tmp_path, UniformSampler(seed=0), checkpoint, log_every_n_steps=1000).fit(
            module, datamodule=short_runs.digits()
        )
    # Of which the loss of that step, before it, told nothing.
    assert not (tmp_path / "last.ckpt").exists()


def test_a_step_that_failed_leaves_no_weights_on_gradients(tmp_path: Path) -> None:
    module = short_runs.supernet_module(grad_reduce="active_mean")

    class Failing(Callback):
        def on_before_optimizer_step(self, *_: Any) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(tmp_path, module, Fixed(((1, 1), (0, 0))), Failing())
    twin = short_runs.supernet_module(grad_reduce="active_mean")
    twin.load_state_dict(module.state_dict())
    for one in (module, twin):
        train(tmp_path, one, Fixed(((1, 2), (1, 0))))
    short_runs.assert_same(module.state_dict(), twin.state_dict())


def test_channels_last_changes_the_layout_and_hardly_the_result(tmp_path: Path) -> None:
    scores = []
    for channels_last in (False, True):
        module = short_runs.supernet_module(
            Pooling(blocks=(1, 1, 1), channels=(4, 4, 6)), channels_last=channels_last
        )
        seen: list[bool] = []
        module.supernet.layers[0].register_forward_hook(  # type: ignore[union-attr, index]
            lambda _, args, __, seen=seen: seen.append(
                args[0].is_contiguous(memory_format=torch.channels_last)
            )
        )
        sampler = UniformSampler(seed=0)
        run = tmp_path / str(channels_last)
        trainer = short_runs.trainer(run, sampler, max_epochs=2)
        trainer.fit(module, datamodule=short_runs.digits())
        scores.append(module.evaluator.scores().loss)
        weights = [p for p in module.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) == channels_last for p in weights)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-2)


def test_weighted_paths_equal_a_plain_loop(tmp_path: Path) -> None:
    paths, weights = ((1, 2), (2, 0)), (0.5, 3.0)
    module, plain = short_runs.supernet_module(), short_runs.supernet_module()
    module.schedule = plain.schedule = "constant"
    sampler = Fixed(paths, weights=(weights,))
    batches = train(tmp_path, module, sampler)
    optimizer = SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for x, y, _ in batches:
        optimizer.zero_grad()
        losses = [F.cross_entropy(plain(x, path), y) for path in paths]
        (sum(w * loss for w, loss in zip(weights, losses, strict=True)) / 2).backward()  # type: ignore[union-attr]
        optimizer.step()
    for mine, other in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


@NO_VALIDATION
@pytest.mark.parametrize("inactive", ["skip", "coast"])
def test_a_step_without_weight_moves_nothing(tmp_path: Path, inactive: Any) -> None:
    """Neither momentum nor decay, and afterwards both go on as if the step had not been."""
    options: dict[str, Any] = {
        "schedule": "constant",
        "inactive_params": inactive,
        "optimizer": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    }
    module, twin = short_runs.supernet_module(**options), short_runs.supernet_module(**options)
    space = module.space
    sampler = Fixed(((1, 2),), weights=((1.0,), (0.0,), (1.0,)))
    trainer = short_runs.trainer(tmp_path, sampler, max_steps=3, limit_val_batches=0, logger=False)
    trainer.fit(module, datamodule=short_runs.digits())
    assert sampler.visits is not None
    assert sampler.visits[space.index((1, 2))] == 2
    batches = list(short_runs.digits().train_dataloader())
    loader = DataLoader(short_runs.Batches(batches[0], batches[2]), batch_size=None)
    other = short_runs.trainer(
        tmp_path / "2", Fixed(((1, 2),)), max_steps=2, limit_val_batches=0, logger=False
    )
    other.fit(twin, loader)
    short_runs.assert_same(module.state_dict(), twin.state_dict())


def test_logits_of_the_step_are_kept(tmp_path: Path) -> None:
    module = short_runs.supernet_module()
    seen: list[list[Tensor]] = []

    class Look(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
            assert isinstance(pl_module, SupernetModule)
            seen.append(pl_module.logits)

    before = short_runs.supernet_module()
    batches = train(tmp_path, module, Fixed(((1, 2), (0, 0))), Look())
    assert len(seen) == 12
    for path, logits in zip(((1, 2), (0, 0)), seen[0], strict=True):
        assert torch.equal(logits, before(batches[0][0], path))
        assert not logits.requires_grad
