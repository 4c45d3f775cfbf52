"""Path importance sampling: operations with large gradients are trained more often."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_nas.errors import NASError
from lightning_nas.loggers import log_metrics
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.base import PathSampler, of_rank_zero, require_paths
from lightning_nas.samplers.length import length_of
from lightning_nas.samplers.smoothing import Smoothing, require_end, require_share, smoothing
from lightning_nas.spaces import ParameterSlice, Path, SearchSpace, Supernet

Granularity = Literal["operation", "decision"]
Accumulate = Literal["ema", "mean"]
Capture = Literal["post_clip", "pre_clip"]
ParamFree = Literal["zero", "mean", "uniform"]
Update = Literal["epoch", "step"]


class PathImportanceSampler(PathSampler):
    """Trains operations the more often the larger their gradients are.

    PA of Lu, Hu, Yang, Sun, Mei, Tan and Song, PA&DA: Jointly Sampling Path and Data for Consistent NAS, CVPR 2023
    (Algorithm 1, Eq. 10), which reduces the variance of the gradients::

        for every epoch e of E:
            every step: the operation of every decision ~ pi
                        x_o = sum of ||grad w||_2 over the tensors w of operation o, divided by its uses
                        G_o accumulates x_o
            delta = e / E
            pi = delta * G / sum(G) + (1 - delta) / number of choices

    Defaults are the released code for NAS-Bench-201, which says more than the paper, and differs from it where
    marked below. Neither corrects the loss for the distribution: the factor 1 / (N p) of Eq. 5 is missing in
    Algorithm 1, too.

    The space must be a product, because decisions are drawn one by one. A decision keeps uniform choices where
    they own no weights, and where they are no operations (such as the inputs of DARTS). If that is so of all
    decisions, as in Pooling, whose weights are all shared, the sampler is a uniform one, and says so. In DARTS an
    operation is measured where it is on the edge from the first or the last state, whose weights are its own alone.
    Where choices are sizes, their slices are measured. Gradients are without the scale of ``16-mixed``, and those of a
    step that its scaler leaves out are not measured.

    Args:
        granularity: ``operation``: one importance for an operation, shared by all decisions that may take it
            (released). ``decision``: one for every choice of every decision (the paper's words allow both).
        accumulate: ``ema``: G = (G + x) / 2, so that the last three values have 87.5 % of the weight (released).
            ``mean``: the mean over the epoch ("record and accumulate", the paper).
        capture: ``post_clip``: gradients as they stand after the step, clipped (released). ``pre_clip``: as
            back-propagation left them (the paper).
        param_free: Operations without weights. ``zero`` importance: late in the run they are almost never trained
            (released). ``mean``: the mean importance of the decision's other operations. ``uniform``: always the
            probability that they have in a uniform choice. (The paper says nothing of them but that the uniform
            distribution is added for their sake.)
        schedule: How delta changes from epoch to epoch: ``rising`` from 0 (published), ``falling`` to 0, ``constant``.
        delta: Largest delta, in [0, 1]. It is reached after the last epoch only, or with ``constant`` always.
        floor: Least probability of a choice, at least 0, and below one over the number of choices.
        update: When pi changes: every ``epoch`` (published), with G beginning anew, or every optimizer ``step``, with
            G accumulating over the whole run (Table 4; how is not told).
        paths: Paths per step, all trained on the same batch, at least 1.
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        epoch: Epoch of what was accumulated.
        importance: G of every operation, shape (operations,); None before the run.
        count: How often every operation was measured.
        probabilities: pi of every decision, shape (decisions, largest number of choices); None before the run.
    """

    options = (
        "granularity",
        "accumulate",
        "capture",
        "param_free",
        "schedule",
        "delta",
        "floor",
        "update",
        "paths",
    )
    state = ("epoch", "importance", "count", "probabilities")

    def __init__(
        self,
        granularity: Granularity = "operation",
        accumulate: Accumulate = "ema",
        capture: Capture = "post_clip",
        param_free: ParamFree = "zero",
        schedule: Smoothing = "rising",
        delta: float = 1.0,
        floor: float = 0.0,
        update: Update = "epoch",
        paths: int = 1,
        seed: int | None = None,
    ) -> None:
        require_share("sampler.delta", delta)
        if not 0 <= floor < 1:
            raise NASError(f"sampler.floor is {floor}: a probability is at least 0 and below 1")
        require_paths(paths)
        self.granularity: Granularity = granularity
        self.accumulate: Accumulate = accumulate
        self.capture: Capture = capture
        self.param_free: ParamFree = param_free
        self.schedule: Smoothing = schedule
        self.delta = delta
        self.floor = floor
        self.update: Update = update
        self.paths = paths
        super().__init__(seed)

    def begin(self) -> None:
        """Nothing measured."""
        self.epoch = 0
        self.importance: Tensor | None = None
        self.count: Tensor | None = None
        self.probabilities: Tensor | None = None
        self._window: list[Path] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lays out the operations of the space.

        Raises:
            NASError: The space is no product, ``floor`` leaves nothing to the sampler, or the schedule has no end.
        """
        assert isinstance(pl_module, SupernetModule)
        space = pl_module.space
        if not space.is_product:
            raise NASError(
                f"PathImportanceSampler draws decisions one by one, but {type(space).__name__} is not a product of "
                "choices"
            )
        largest = max(map(len, space.choices))
        if self.floor * largest >= 1:
            raise NASError(
                f"sampler.floor is {self.floor}: with {largest} choices it is below {1 / largest:.4g}"
            )
        self._length = length_of(trainer)
        require_end(self._length, self.schedule, "sampler.schedule")
        self._operations = operations_of(space, pl_module.supernet, self.granularity)
        if not self._operations.names:
            rank_zero_info(
                f"PathImportanceSampler samples uniformly: no choice of {type(space).__name__} has weights of its own"
            )
        if self.probabilities is None:
            self.importance = torch.zeros(len(self._operations.names), dtype=torch.float64)
            self.count = torch.zeros(len(self._operations.names), dtype=torch.int64)
            self._set_probabilities(trainer, progress=0.0)

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """``paths`` independent draws, every decision from its row of pi."""
        assert self.probabilities is not None
        rng = generator(self.seed, Stream.PATH, step)
        cumulative = self.probabilities.cumsum(1)
        draws = torch.from_numpy(rng.random((len(cumulative), self.paths))) * cumulative[:, -1:]
        chosen = torch.searchsorted(cumulative, draws, right=True)
        return tuple(map(tuple, chosen.T.tolist()))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Turns to a new epoch, chooses, and keeps the paths of the optimizer step."""
        if trainer.current_epoch > self.epoch:
            self._end_epoch(trainer)
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        assert isinstance(pl_module, SupernetModule)
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._window = []
        self._window += pl_module.paths

    # Not when an epoch ends: a run that continues from a checkpoint of a validation does not hear of that.
    def _end_epoch(self, trainer: Trainer) -> None:
        assert self.importance is not None
        assert self.count is not None
        if self.update == "epoch":
            self._set_probabilities(trainer, progress=min(1.0, self.epoch / self._length.epochs))
            self.importance = torch.zeros_like(self.importance)
            self.count = torch.zeros_like(self.count)
        self.epoch = trainer.current_epoch
        log_metrics(trainer, self._metrics())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: object
    ) -> None:
        """Measures gradients before they are clipped, where that is asked."""
        assert isinstance(pl_module, SupernetModule)
        if self.capture == "pre_clip" and not pl_module.step_is_skipped():
            self._measure(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After an optimizer step, measures the gradients it used, and renews pi where that is asked."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch:
            return
        assert isinstance(pl_module, SupernetModule)
        if self.capture == "post_clip" and not pl_module.step_is_skipped():
            self._measure(pl_module)
        if self.update == "step":
            self._set_probabilities(
                trainer, progress=min(1.0, (trainer.global_step - 1) / self._length.steps)
            )

    def _measure(self, module: SupernetModule) -> None:
        """Adds the gradient norms of the operations that the step trained to G."""
        assert self.importance is not None
        assert self.count is not None
        norms = operation_norms(module.supernet, self._operations.places, self._window)
        for operation, norm in norms.items():
            if math.isfinite(norm) and norm > 0:
                self.count[operation] += 1
                weight = 0.5 if self.accumulate == "ema" else 1 / float(self.count[operation])
                self.importance[operation] += weight * (norm - self.importance[operation])

    def _set_probabilities(self, trainer: Trainer, progress: float) -> None:
        assert self.importance is not None
        importance = self.importance
        delta = smoothing(self.schedule, self.delta, progress)
        self.probabilities = of_rank_zero(
            trainer,
            lambda: path_probabilities(importance, self._operations, delta, self.param_free, self.floor),
        )

    def _metrics(self) -> dict[str, float]:
        """The probability of every operation, the mean over the decisions that may take it."""
        assert self.probabilities is not None
        sums = torch.zeros(len(self._operations.names), dtype=torch.float64)
        measured = self._operations.places >= 0
        places = self._operations.places[measured]
        sums.index_add_(0, places, self.probabilities[measured])
        means = sums / torch.bincount(places, minlength=len(sums))
        return {
            f"path_importance/{name}": mean
            for name, mean in zip(self._operations.names, means.tolist(), strict=True)
        }


class Operations(NamedTuple):
    """The operations of a space whose gradients are measured, and where they stand.

    Attributes:
        names: What they are called.
        places: Which of them a choice is, -1 for none, shape (decisions, largest number of choices).
        allowed: Whether paths may take a choice, of the same shape.
    """

    names: tuple[str, ...]
    places: Tensor
    allowed: Tensor


def operations_of(space: SearchSpace, supernet: Supernet, granularity: Granularity) -> Operations:
    """The operations with weights of their own."""
    numbers: dict[str, int] = {}
    places = torch.full((len(space.choices), max(space.num_choices)), -1)
    allowed = torch.zeros_like(places, dtype=torch.bool)
    for decision, (choices, names) in enumerate(zip(space.choices, space.choice_names, strict=True)):
        allowed[decision, list(choices)] = True
        if names is None:
            continue
        for choice in choices:
            if supernet.choice_parameters(decision, choice):
                name = names[choice] if granularity == "operation" else f"{decision}/{names[choice]}"
                places[decision, choice] = numbers.setdefault(name, len(numbers))
    return Operations(tuple(numbers), places, allowed)


def operation_norms(supernet: Supernet, places: Tensor, paths: Sequence[Path]) -> dict[int, float]:
    """The gradient norm per use of all operations that some path trained: x of the algorithm.

    The sum over an operation's tensors, not the norm of all of them together, waiting for the device once. An
    operation is not counted where it did not run, such as on an edge that leads nowhere: whether it did is
    not read from the gradient, which may be a leftover there (``inactive_params: coast``).
    """
    uses: Counter[int] = Counter()
    parts: dict[tuple[int, int], list[ParameterSlice]] = {}
    for path in paths:
        trained = {id(parameter) for parameter in supernet.path_parameters(path)}
        for decision, choice in enumerate(path):
            operation = int(places[decision, choice])
            if operation < 0:
                continue
            owned = supernet.choice_parameters(decision, choice)
            if any(id(part.parameter) in trained for part in owned):
                uses[operation] += 1
                parts[decision, choice] = owned
    gradients = [
        (int(places[place]), part.parameter.grad[part.index])
        for place, owned in parts.items()
        for part in owned
        if part.parameter.grad is not None
    ]
    if not gradients:
        return {}
    owners, tensors = zip(*gradients, strict=True)
    norms = torch.stack(torch._foreach_norm(tensors)).tolist()
    sums: Counter[int] = Counter()
    for operation, norm in zip(owners, norms, strict=True):
        sums[operation] += norm
    return {operation: total / uses[operation] for operation, total in sums.items()}


def path_probabilities(
    importance: Tensor, operations: Operations, delta: float, param_free: ParamFree, floor: float
) -> Tensor:
    """The probability of every choice (pi).

    Args:
        importance: G of every operation.
        operations: Where the operations stand.
        delta: Weight of the importance against the uniform distribution.
        param_free: What is done with choices that are no operations: see ``PathImportanceSampler``.
        floor: Least probability.

    Returns:
        Rows that add up to 1, float64, shape (decisions, largest number of choices).

    Example:
        >>> nasbench201 = Operations(("1x1", "3x3"), torch.tensor([[-1, -1, 0, 1, -1]]), torch.ones(1, 5).bool())
        >>> G = torch.tensor([1.75, 3.25], dtype=torch.float64)
        >>> path_probabilities(G, nasbench201, delta=0.5, param_free="zero", floor=0.0).round(decimals=3).tolist()
        [[0.1, 0.1, 0.275, 0.425, 0.1]]
    """
    measured = operations.places >= 0
    allowed = operations.allowed.double()
    number = allowed.sum(1, keepdim=True)
    weight = torch.zeros_like(allowed)
    weight[measured] = importance[operations.places[measured]]
    if param_free == "mean":
        mean = weight.sum(1, keepdim=True) / measured.sum(1, keepdim=True).clamp(min=1)
        weight = torch.where(measured, weight, mean * allowed)
    weighed = measured.double() if param_free == "uniform" else allowed
    # Where nothing was measured, all are alike.
    weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, weighed)
    total, share = weight.sum(1, keepdim=True), weighed.sum(1, keepdim=True) / number
    p = torch.where(total > 0, weight / total, weight)
    pi = torch.where(weighed > 0, delta * share * p + (1 - delta) / number, allowed / number)
    return floor * allowed + (1 - number * floor) * pi
