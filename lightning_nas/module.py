"""The supernet as a LightningModule: it owns the shared weights and trains the step's paths."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, cast

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import get_total_norm

from lightning_nas import checkpoint
from lightning_nas.data import classes_of
from lightning_nas.errors import NASError
from lightning_nas.evaluation import Calibration, PartialScores, PathEvaluator, select_paths, track
from lightning_nas.finite import require_finite_loss, require_finite_weights
from lightning_nas.loggers import is_logged_step, log_metrics
from lightning_nas.optim.active_mean import ActiveMean
from lightning_nas.optim.schedule import Decay, Schedule, configure
from lightning_nas.spaces import NormPolicy, Path, SearchSpace
from lightning_nas.standalone import Origin, StandaloneModule
from lightning_nas.tricks import NO_TRICKS, Tricks

Batch = Sequence[Tensor]


class SupernetModule(LightningModule):
    """Trains the weights that all paths of a space share.

    A sampler sets ``paths`` before every step; the step trains exactly those, one backward pass at a time, so
    that several paths need the memory of one. Optimization is automatic: precision, clipping, accumulation
    and strategy flags of the Trainer keep their meaning.

    Args:
        space: The search space.
        num_classes: Classes of the data; None keeps the space's own.
        in_channels: Channels of the images; None keeps the space's own.
        image_size: Pixels along a side of the images; None keeps the space's own.
        norm: Batch-norm of the supernet.
        optimizer: Makes the optimizer.
        schedule: ``cosine`` or ``linear`` per optimizer step over the whole run, ``cosine_epochs`` per epoch, or
            ``constant``.
        final_lr: Learning rate at the end of the schedule.
        decay: Whether weight decay applies to ``all`` parameters, or to ``weights`` and neither to biases nor to the
            scales and shifts of batch-norm.
        warmup_epochs: Epochs at the beginning in which the learning rate rises in a line, before the schedule.
        label_smoothing: Of the training loss, in [0, 1).
        inactive_params: What happens to weights that no path of the step used. ``skip``: nothing. ``coast``:
            momentum and weight decay go on moving every weight that was used before, as under torch 1.x, with
            which PA&DA and Subnet-Aware Dynamic Supernet Training were published.
        grad_reduce: How the gradients of S paths become one: their ``mean``, their ``sum`` (FairNAS), or
            ``active_mean``: for every weight the mean over the paths that used it (the released code of
            Ning et al., Evaluating Efficient Performance Estimators, 2021).
        predict_path: The architecture that ``predict`` runs, in the space's notation.
        channels_last: Keep the channels of a pixel together in memory. On a CPU that halves the time in which
            NAS-Bench-201 is scored at its published width, because average pooling is slow otherwise
            (``benchmarks/evaluation.py``). Results differ in the last digits.

    Attributes:
        paths: The paths that the next step trains; a sampler sets them.
        path_weights: A weight for the loss of each of them, set with ``paths``; empty weighs them all by 1. A step
            whose weights are all 0 trains nothing.
        logits: What the paths answered on the last batch, each N x classes, without gradients, in their order.
        losses: Their losses, and those of earlier batches of the same optimizer step.
    """

    def __init__(
        self,
        space: SearchSpace,
        num_classes: int | None = None,
        in_channels: int | None = None,
        image_size: int | None = None,
        norm: NormPolicy = NormPolicy(),  # noqa: B008  (frozen)
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        schedule: Schedule = "cosine",
        final_lr: float = 0.0,
        decay: Decay = "all",
        warmup_epochs: int = 0,
        label_smoothing: float = 0.0,
        inactive_params: Literal["skip", "coast"] = "skip",
        grad_reduce: Literal["mean", "sum", "active_mean"] = "mean",
        predict_path: str | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.space = space.adapt(num_classes, in_channels, image_size)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.supernet = self.space.build_supernet(norm=norm).to(memory_format=self.memory_format)
        self.optimizer = optimizer
        self.schedule: Schedule = schedule
        self.final_lr = final_lr
        self.decay: Decay = decay
        self.warmup_epochs = warmup_epochs
        self.label_smoothing = label_smoothing
        self.inactive_params = inactive_params
        self.grad_reduce = grad_reduce
        self.predict_path = None if predict_path is None else self.space.decode(predict_path)
        self.paths: tuple[Path, ...] = ()
        self.path_weights: tuple[float, ...] = ()
        self.logits: list[Tensor] = []
        self.eval_paths: Sequence[Path] = select_paths(self.space, paths=100)
        self.calibration: Calibration | None = None
        self.partial_scores: PartialScores | None = None
        self._coasting: list[str] = []
        self._active_mean = ActiveMean()
        self.losses: list[Tensor] = []
        self._set_aside: list[tuple[nn.Parameter, Tensor]] = []

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute.

        Lightning notes here which hook runs, fifty times in a step. That is no weight, and need not be compared with them.
        """
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def trained_paths(self) -> tuple[Path, ...]:
        """Those of ``paths`` that have a weight."""
        weights = self.path_weights or (1.0,) * len(self.paths)
        return tuple(path for path, weight in zip(self.paths, weights, strict=True) if weight)

    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Logits (N x classes) of ``path`` for images ``x`` (N x C x H x W)."""
        return cast(Tensor, self.supernet(self._laid_out(x), path))

    def _laid_out(self, images: Tensor) -> Tensor:
        """The images, in memory as the weights are."""
        return images.contiguous(memory_format=self.memory_format)

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule."""
        return configure(self, self.optimizer, self.schedule, self.final_lr, self.decay, self.warmup_epochs)

    def standalone(self, path: Path, tricks: Tricks = NO_TRICKS, seed: int = 0) -> StandaloneModule:
        """``path`` as a network of its own, freshly initialised, to be trained with the same settings.

        Args:
            path: The architecture.
            tricks: What else its training does.
            seed: Of their draws.
        """
        return StandaloneModule(
            self.space.build_standalone(path),
            self.space.num_classes,
            self.optimizer,
            self.schedule,
            self.final_lr,
            self.decay,
            self.label_smoothing,
            self.warmup_epochs,
            tricks,
            seed,
            Origin(self.space, path),
        )

    def of_part(self, space: SearchSpace) -> "SupernetModule":
        """A supernet of its own for a part of the space, freshly initialised, to be trained with the same settings.

        Args:
            space: The part.
        """
        return SupernetModule(
            space,
            norm=self.supernet.norm,
            optimizer=self.optimizer,
            schedule=self.schedule,
            final_lr=self.final_lr,
            decay=self.decay,
            warmup_epochs=self.warmup_epochs,
            label_smoothing=self.label_smoothing,
            inactive_params=self.inactive_params,
            grad_reduce=self.grad_reduce,
            channels_last=self.memory_format == torch.channels_last,
        )

    # ------------------------------------------------------------------------------------------- training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Trains the step's paths on one batch.

        All paths but the last are back-propagated here, each before the next one runs forward; the last loss
        is returned for Lightning to back-propagate.

        Returns:
            The last path's share of the loss. ``train/loss`` is the mean over the paths and batches of an
            optimizer step, on several processes that of the first one's images.

        Raises:
            NASError: No sampler chose a path, or the loss is not finite (looked at on steps that are logged,
                before a validation and before a checkpoint is written, because looking waits for the device). All ranks
                look at the same steps, and stop where one of them has to.
        """
        if not self.paths:
            raise NASError(
                "no path was chosen for this step: add a sampler to the Trainer's callbacks, such as UniformSampler()"
            )
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._zero_grad()
            self.losses = []
        loss = self._train(batch)
        if (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0 or self.trainer.is_last_batch:
            self._log_step()
        return loss

    def _train(self, batch: Batch) -> Tensor:
        self.logits = []
        if self.path_weights and not any(self.path_weights):
            return self._no_loss()
        share = 1.0 if self.grad_reduce == "sum" else 1 / len(self.paths)
        shares = [share * weight for weight in self.path_weights or (1.0,) * len(self.paths)]
        if self.grad_reduce == "active_mean":
            self._active_mean.begin(self.supernet, self.paths)
        for path, part in zip(self.paths[:-1], shares[:-1], strict=True):
            loss = self._loss(batch, path)
            with self._without_sync():
                self.trainer.strategy.backward(loss * part / self.trainer.accumulate_grad_batches, None)
        return self._loss(batch, self.paths[-1]) * shares[-1]

    def _loss(self, batch: Batch, path: Path) -> Tensor:
        images, labels, *_ = batch
        logits = self(images, path)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self.logits.append(logits.detach())
        self.losses.append(loss.detach())
        return loss

    def _no_loss(self) -> Tensor:
        """A loss that trains nothing, and yet lets every rank take part in the exchange of gradients."""
        weights = self.supernet.path_parameters(self.paths[-1])
        return 0 * torch.stack([weight.sum() for weight in weights]).sum()

    def on_before_optimizer_step(self, optimizer: object) -> None:
        """Hides the gradients where nothing was trained, so that momentum and decay rest too."""
        if not self.losses:
            self._set_aside = [(p, p.grad) for p in self.parameters() if p.grad is not None]
            for parameter, _ in self._set_aside:
                parameter.grad = None

    def step_is_skipped(self) -> bool:
        """Whether the gradient scaler of ``16-mixed`` leaves out this optimizer step: a gradient overflowed.

        For hooks from ``on_before_optimizer_step`` to ``on_train_batch_end``. Without a scaler no step is left out, and
        nothing waits for the device.
        """
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            return False
        norm = get_total_norm([p.grad for p in self.parameters() if p.grad is not None])
        return not bool(norm.isfinite())

    def _without_sync(self) -> AbstractContextManager[None]:
        """Gradients are exchanged between ranks once per step, with the last path's."""
        no_sync = getattr(self.trainer.model, "no_sync", nullcontext)
        return cast(AbstractContextManager[None], no_sync())

    def on_train_batch_end(self, *_: object) -> None:
        """Takes the gradient weights of this step away."""
        self._active_mean.end()
        for parameter, gradient in self._set_aside:
            parameter.grad = gradient
        self._set_aside = []

    def _log_step(self) -> None:
        # `self.log` costs half a millisecond, hence only on steps that are written.
        if not self.losses or not is_logged_step(self.trainer):
            return
        loss = self._finite_loss()
        self.log("train/loss", loss, prog_bar=True, logger=False)
        log_metrics(self.trainer, {"train/loss": loss})

    def _finite_loss(self) -> float:
        """Mean loss of the step; waits for the device."""
        loss = float(torch.stack(self.losses).mean())
        paths = ", ".join(map(self.space.encode, self.paths))
        require_finite_loss(self, loss, f" (path {paths})")
        return loss

    # ------------------------------------------------------------------------- gradients of inactive weights

    def optimizer_zero_grad(self, *_: object) -> None:
        """Does nothing: Lightning calls it after the earlier paths' gradients are in place.

        ``training_step`` clears the gradients itself when an accumulation window begins.
        """

    def on_validation_model_zero_grad(self) -> None:
        """Frees gradients before validation, unless weights without one must go on coasting."""
        if self.inactive_params == "skip":
            super().on_validation_model_zero_grad()

    def _zero_grad(self) -> None:
        for name in self._coasting:
            parameter = self.get_parameter(name)
            parameter.grad = torch.zeros_like(parameter)
        self._coasting = []
        for optimizer in self.trainer.optimizers:
            optimizer.zero_grad(set_to_none=self.inactive_params == "skip")

    # ----------------------------------------------------------------------------------------- evaluation

    def on_validation_epoch_start(self) -> None:
        """Starts a fresh count for every path.

        Raises:
            NASError: The loss of the training so far is not finite.
        """
        if self.losses:
            self._finite_loss()
        processes = self.trainer.world_size
        self.evaluator = PathEvaluator(
            self.supernet, self.eval_paths, self.global_rank, processes, self.calibration, self.partial_scores
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores all of ``eval_paths`` on one batch."""
        images, labels, *_ = batch
        self.evaluator.update(self._laid_out(images), labels, batch_idx, partial(track, self.trainer))

    def on_validation_epoch_end(self) -> None:
        """Logs loss and accuracy over the paths."""
        scores = self.evaluator.scores()
        split = "test" if self.trainer.testing else "val"
        metrics = {
            f"{split}/loss": scores.loss.mean(),
            f"{split}/accuracy": scores.accuracy.mean(),
            f"{split}/accuracy_min": scores.accuracy.min(),
            f"{split}/accuracy_max": scores.accuracy.max(),
        }
        self.log_dict({key: float(value) for key, value in metrics.items()}, sync_dist=True)

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """Class probabilities (N x classes) of ``predict_path`` and the true labels (N,)."""
        if self.predict_path is None:
            raise NASError(
                "model.predict_path is not given: predict needs the architecture to run, such as "
                f"{self.space.encode(self.space[0])!r}"
            )
        images, labels, *_ = batch
        return self(images, self.predict_path).softmax(1), labels

    # ---------------------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        """Describes space, batch-norm and the classes of the data in plain types, and which weights coast.

        Raises:
            NASError: Loss or weights are not finite: the checkpoint would take the place of a good one.
        """
        if self.losses:
            self._finite_loss()
        require_finite_weights(self)
        coasting = self.inactive_params == "coast"
        used = [name for name, p in self.named_parameters() if coasting and p.grad is not None]
        checkpoint.describe(
            checkpoint_, self.space, self.supernet.norm, coasting=used, classes=classes_of(self)
        )

    @checkpoint.named
    def on_load_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        """Refuses the checkpoint of another space, or of other classes.

        Raises:
            NASError: A foreign checkpoint, or one of another space, other data or another batch-norm, or training
                continues from one that holds weights alone.
        """
        fits = self._trainer is not None and self._trainer.state.fn == "fit"
        if fits:
            checkpoint.require_continued(checkpoint_)
        description = checkpoint.require(checkpoint_, self.space, self.supernet.norm)
        if "learning" in description:
            if fits:
                raise NASError(
                    "the checkpoint holds an architecture that is learnt: learn continues it, not fit"
                )
            checkpoint.drop_alphas(checkpoint_)
        trained, given = description.get("classes"), classes_of(self)
        if trained is not None and given is not None:
            checkpoint.require_classes(trained, given)
        self._coasting = list(description["coasting"])


def require_supernet(callback: Callback, module: LightningModule) -> SupernetModule:
    """The module of a run, for a callback that works with no other.

    Raises:
        NASError: It is no SupernetModule.
    """
    if not isinstance(module, SupernetModule):
        raise NASError(f"{type(callback).__name__} needs a SupernetModule, not a {type(module).__name__}")
    return module
