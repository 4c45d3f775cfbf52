"""How much the gradients of the shared weights vary in the course of an epoch."""

from pathlib import Path as FilePath
from typing import Any, Literal, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_nas import plots
from lightning_nas.errors import NASError
from lightning_nas.loggers import log_figure, log_metrics
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.optim.momentum_separation import MomentumSeparationSGD
from lightning_nas.spaces import Path

Stat = Literal["variance", "deviation"]
Source = Literal["gradient", "momentum"]


class GradientVariance(Callback):
    """Logs the gradient variance (GV) of the searchable weights at the end of every epoch.

    Lu et al., PA&DA (CVPR 2023), compare supernets by it, but its definition is in a supplement and not in the
    released code. Here, for every tensor that belongs to a choice and every step that trained it::

        the population variance of every element over the steps of the epoch (Welford, Technometrics 1962)
        GV = the mean over elements, and then over the tensors that were trained at least twice

    Gradients are those of all ranks, before they are clipped, and without the scale of ``16-mixed``; steps that its scaler
    leaves out do not count. Needs twice the memory of the searchable weights; nothing waits for the device before the
    epoch ends, but where a scaler does so in any case. At the end of the run ``gradient_variance.png`` (and alike) shows
    all epochs.

    Args:
        stat: ``variance`` as above, logged as ``gradient/variance``, or the mean standard ``deviation``, as in Jeon et
            al., Subnet-Aware Dynamic Supernet Training (CVPR 2025), logged as ``gradient/deviation``.
        source: ``gradient``, or the optimizer's ``momentum`` after the step (SGD), logged as ``momentum/...``. Where
            MomentumSeparationSGD keeps several, each counts as a tensor of its own over the steps of its cluster.

    Attributes:
        history: The value of every epoch so far that had one, by number of the epoch.
    """

    def __init__(self, stat: Stat = "variance", source: Source = "gradient") -> None:
        self.stat: Stat = stat
        self.source: Source = source
        self._parameters: dict[str, nn.Parameter] = {}
        self._window: list[Path] = []
        self.history: dict[int, float] = {}
        self._clear()

    @property
    def state_key(self) -> str:
        """One of every kind may watch a run."""
        return self._generate_state_key(stat=self.stat, source=self.source)

    def _clear(self) -> None:
        self._number: dict[str, int] = {}
        self._mean: dict[str, Tensor] = {}
        self._squares: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begins anew.

        Raises:
            NASError: The module is no supernet, or no choice of its space has weights of its own.
        """
        if stage != "fit":
            return
        module = require_supernet(self, pl_module)
        supernet, space = module.supernet, module.space
        searchable = {
            id(part.parameter)
            for decision, choices in enumerate(space.choices)
            for choice in choices
            for part in supernet.choice_parameters(decision, choice)
        }
        if not searchable:
            raise NASError(
                f"GradientVariance looks at the weights of choices, but those of {type(space).__name__} have none: all "
                "its weights are shared"
            )
        self._parameters = {name: p for name, p in supernet.named_parameters() if id(p) in searchable}
        self.history = {}
        self._clear()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves what a checkpoint held to the device of the weights."""
        for tensors in (self._mean, self._squares):
            for name, tensor in tensors.items():
                tensors[name] = tensor.to(pl_module.device)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the paths of the optimizer step.

        Not when the batch starts: on the command line the sampler comes last, and has not chosen yet.
        """
        assert isinstance(pl_module, SupernetModule)
        if trainer.fit_loop.batch_idx % trainer.accumulate_grad_batches == 0:
            self._window = []
        self._window += pl_module.trained_paths

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: object
    ) -> None:
        """Takes the gradients."""
        assert isinstance(pl_module, SupernetModule)
        if self.source == "gradient" and not pl_module.step_is_skipped():
            trained = self._trained(pl_module)
            self._add({name: p.grad for name, p in trained.items() if p.grad is not None})

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes the momentum that the optimizer step has just updated.

        Raises:
            NASError: The optimizer has none.
        """
        assert isinstance(pl_module, SupernetModule)
        if self.source == "gradient" or (
            (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch
        ):
            return
        if pl_module.step_is_skipped():
            return
        trained = self._trained(pl_module)
        [optimizer] = trainer.optimizers
        buffers = {name: _momentum(optimizer, p) for name, p in trained.items()}
        if missing := [name for name, p in trained.items() if p.grad is not None and buffers[name] is None]:
            raise NASError(
                f"GradientVariance.source is 'momentum', but {type(optimizer).__name__} keeps none of {missing[0]}: "
                "valid is 'gradient', and SGD with momentum"
            )
        cluster = f" of cluster {optimizer.cluster}" if isinstance(optimizer, MomentumSeparationSGD) else ""
        self._add({name + cluster: buffer for name, buffer in buffers.items() if buffer is not None})

    def _trained(self, module: LightningModule) -> dict[str, nn.Parameter]:
        """The searchable weights that a path of the step used: others may have a gradient left."""
        assert isinstance(module, SupernetModule)
        used = {id(p) for path in self._window for p in module.supernet.path_parameters(path)}
        return {name: p for name, p in self._parameters.items() if id(p) in used}

    @torch.no_grad()
    def _add(self, values: dict[str, Tensor]) -> None:
        """One step of Welford's method for every tensor, all at once."""
        if not values:
            return
        names, new = list(values), [value.to(_at_least_float(value)) for value in values.values()]
        for name, value in zip(names, new, strict=True):
            if name not in self._mean:
                self._number[name] = 0
                self._mean[name], self._squares[name] = torch.zeros_like(value), torch.zeros_like(value)
            self._number[name] += 1
        means = [self._mean[name] for name in names]
        before = torch._foreach_sub(new, means)
        torch._foreach_add_(means, torch._foreach_div(before, [float(self._number[name]) for name in names]))
        after = torch._foreach_sub(new, means)
        torch._foreach_addcmul_([self._squares[name] for name in names], before, after)

    def value(self) -> float | None:
        """The statistic of the epoch so far; None where no tensor was trained twice."""
        variances = [self._squares[name] / n for name, n in self._number.items() if n >= 2]
        if not variances:
            return None
        spreads = variances if self.stat == "variance" else torch._foreach_sqrt(variances)
        return float(torch.stack([spread.mean() for spread in spreads]).double().mean())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the epoch and forgets it."""
        value = self.value()
        self._clear()
        if value is not None:
            self.history[trainer.current_epoch + 1] = value
            log_metrics(trainer, {f"{self.source}/{self.stat}": value})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws all epochs."""
        if not trainer.is_global_zero or not self.history:
            return
        name = f"{self.source}_{self.stat}"
        epochs, values = list(self.history), list(self.history.values())
        figure = plots.variance_over_epochs(epochs, {"this run": values}, f"{self.source} {self.stat}")
        plots.save(
            figure, FilePath(trainer.default_root_dir) / f"{name}.png", {"epoch": epochs, name: values}
        )
        log_figure(trainer, f"{self.source}/{self.stat}_over_epochs", figure)

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, and what was seen of this one."""
        seen = {"number": self._number, "mean": self._mean, "squares": self._squares}
        return {"history": self.history, **seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues the epoch."""
        self.history = state_dict["history"]
        self._number, self._mean, self._squares = (state_dict[key] for key in ("number", "mean", "squares"))


def _momentum(optimizer: Optimizer, parameter: nn.Parameter) -> Tensor | None:
    """The buffer that the last step updated."""
    state = optimizer.state.get(parameter, {})
    if isinstance(optimizer, MomentumSeparationSGD):
        return cast(Tensor | None, state.get("momentum_buffers", {}).get(optimizer.cluster))
    return cast(Tensor | None, state.get("momentum_buffer"))


def _at_least_float(value: Tensor) -> torch.dtype:
    return torch.promote_types(value.dtype, torch.float32)
