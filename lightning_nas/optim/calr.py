"""A learning rate that falls the later, the more complex the step's path is."""

import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer

from lightning_nas import plots
from lightning_nas.errors import NASError
from lightning_nas.loggers import is_logged_step, log_metrics
from lightning_nas.module import SupernetModule
from lightning_nas.samplers.base import PathSampler
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces.extremes import extreme_costs

Curve = Literal["log", "linear", "exponential"]
CURVES: dict[Curve, Callable[[float], float]] = {
    "log": math.log,
    "linear": lambda complexity: complexity,
    "exponential": math.exp,
}


def decay_ratio(
    complexity: int,
    smallest: int,
    largest: int,
    gamma_max: float = 4.0,
    curve: Curve = "log",
    reverse: bool = False,
) -> float:
    """The exponent gamma of a path: w * h(C) + b (Eq. 4-6, and i-iii of the supplement).

    Args:
        complexity: C of the path.
        smallest: C_min; its gamma is ``gamma_max``.
        largest: C_max; its gamma is 1 / ``gamma_max``.
        gamma_max: The largest gamma.
        curve: h. The exponential is that of C / C_max: the paper does not say in which unit C is.
        reverse: Exchange the gammas of C_min and C_max.

    Example:
        >>> [round(decay_ratio(params, 72752, 1524272), 6) for params in (72752, 314672, 1524272)]
        [4.0, 2.194809, 0.25]
    """
    if smallest == largest:
        return 1.0
    start, end = (1 / gamma_max, gamma_max) if reverse else (gamma_max, 1 / gamma_max)
    h_min, h, h_max = (CURVES[curve](c / largest) for c in (smallest, complexity, largest))
    return start + (end - start) * (h - h_min) / (h_max - h_min)


class CaLR(Callback):
    """Complexity-aware learning rate (Jeon et al., Subnet-Aware Dynamic Supernet Training, CVPR 2025, Sec. 3.2.1).

    In step t of T path a is trained with the rate (Eq. 3)::

        lr(t, a) = lr_0 * r(t, a),    r(t, a) = (1 - eta_min) * (1 - t / T)^gamma(a) + eta_min

    lr_0 is the rate of every parameter group, and gamma falls from ``gamma_max`` for the smallest path of the space to
    1 / ``gamma_max`` for the largest, so that small paths, which converge early, are slowed down first. Smallest and
    largest are those of the whole space, also where a part of it is trained (as in the released code).

    The rate is set when the gradients are complete, right before the optimizer steps, and depends on nothing but t and the
    paths: there is no state to resume. Clipping and precision keep their meaning. It goes with ``model.schedule``
    ``constant``. ``learning_rate.png`` in the run directory shows it for paths of several sizes.

    Several paths, in one batch or over the batches of an accumulated step, have one rate. The paper weights their
    gradients by r(t, a) (supplement, on FairNAS). Here the rate is lr_0 times the mean of r, and the weights are
    r / mean: the loss moves the weights just as much, weight decay falls with the rate, and clipping sees gradients of
    usual size. In the released code the rate stays lr_0 instead, so that weight decay never falls.

    Args:
        gamma_max: Largest exponent, at least 1. 4 in the released code for NAS-Bench-201, which the paper grid-searched.
        complexity: C: parameters of the stand-alone network, or its multiply-adds, which the paper found slightly
            worse (Table F). The released code counts convolutions and the classifier's weight alone.
        curve: What gamma is affine in: log C, or C and its exponential, both worse (supplement C.2).
        reverse: Slow down large paths instead, the paper's counter-proof (Table 4).
        eta_min: Share of lr_0 that remains at the end, from 0 to below 1.
        several_paths: ``lr_mean`` or ``released``, see above.
    """

    def __init__(
        self,
        gamma_max: float = 4.0,
        complexity: Literal["params", "macs"] = "params",
        curve: Curve = "log",
        reverse: bool = False,
        eta_min: float = 0.0,
        several_paths: Literal["lr_mean", "released"] = "lr_mean",
    ) -> None:
        if not 1 <= gamma_max < math.inf:
            raise NASError(f"CaLR.gamma_max is {gamma_max}: valid are numbers from 1")
        if not 0 <= eta_min < 1:
            raise NASError(f"CaLR.eta_min is {eta_min}: valid are numbers from 0 to below 1")
        self.gamma_max = gamma_max
        self.complexity: Literal["params", "macs"] = complexity
        self.curve: Curve = curve
        self.reverse = reverse
        self.eta_min = eta_min
        self.several_paths = several_paths
        self._means: list[float] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes its place behind the sampler, whose paths it weights: on the command line the sampler comes last."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        sampler = next((callback for callback in callbacks if isinstance(callback, PathSampler)), None)
        if sampler is not None and callbacks.index(self) < callbacks.index(sampler):
            # A new list, because Lightning is going through the old one.
            callbacks = [callback for callback in callbacks if callback is not self]
            callbacks.insert(callbacks.index(sampler) + 1, self)
            trainer.callbacks = callbacks  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the space and the length of the run.

        Raises:
            NASError: The module has a schedule of its own or is no supernet, there is another CaLR, or the run has no
                end.
        """
        if not isinstance(pl_module, SupernetModule) or pl_module.schedule != "constant":
            raise NASError("CaLR sets the rate of a SupernetModule whose model.schedule is 'constant'")
        if (number := sum(isinstance(one, CaLR) for one in trainer.callbacks)) > 1:  # type: ignore[attr-defined]
            raise NASError(f"trainer.callbacks has {number} CaLR: only one of them can set the rate")
        if math.isinf(trainer.estimated_stepping_batches):
            raise NASError(
                "CaLR anneals over a run, but this one has no end: set trainer.max_epochs or trainer.max_steps"
            )
        self._steps = int(trainer.estimated_stepping_batches)
        self._range = extreme_costs(pl_module.space.whole, self.complexity)
        if self._range[0] == self._range[1]:
            rank_zero_warn(
                f"CaLR.complexity is {self.complexity!r}, and all paths have {self._range[0]:,}: the rate falls in a "
                "line for all of them"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the rates of the run."""
        if not trainer.is_global_zero:
            return
        base = trainer.optimizers[0].param_groups[0]
        complexities = np.geomspace(*self._range, 5 if self._range[0] < self._range[1] else 1)
        progress = np.linspace(0, 1, 101)
        rates = [
            [base.get("initial_lr", base["lr"]) * self._share(int(c.round()), t) for t in progress]
            for c in complexities
        ]
        labels = [f"{complexity / 1e6:.3g}" for complexity in complexities]
        figure = plots.learning_rate_by_complexity(progress, rates, labels, f"million {self.complexity}")
        table = dict(zip(labels, rates, strict=True))
        plots.save(
            figure, Path(trainer.default_root_dir) / "learning_rate.png", {"progress": progress, **table}
        )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Weights the losses of the paths."""
        assert isinstance(pl_module, SupernetModule)
        factors = [self._factor(pl_module, path, trainer.global_step) for path in pl_module.paths]
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._means = []
        self._means.append(fmean(factors))
        # The mean over an accumulated step is known at its end: until then that of its first batch stands for it.
        unit = self._means[0] if self.several_paths == "lr_mean" and self._means[0] else 1.0
        given = pl_module.path_weights or (1.0,) * len(factors)
        pl_module.path_weights = tuple(
            weight * (factor / unit) for weight, factor in zip(given, factors, strict=True)
        )

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Sets the rate."""
        mean = fmean(self._means)
        if self.several_paths == "lr_mean":
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * mean
            if mean != self._means[0]:
                gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
                torch._foreach_mul_(gradients, self._means[0] / mean)
        if is_logged_step(trainer):
            log_metrics(trainer, {"train/lr_factor": mean})

    def _factor(self, module: SupernetModule, path: Architecture, step: int) -> float:
        """r(t, a)."""
        return self._share(
            int(getattr(module.space.cost(path), self.complexity)), min(1.0, step / self._steps)
        )

    def _share(self, complexity: int, progress: float) -> float:
        """r, where ``progress`` is t / T."""
        gamma = decay_ratio(complexity, *self._range, self.gamma_max, self.curve, self.reverse)
        return (1 - self.eta_min) * float((1 - progress) ** gamma) + self.eta_min
