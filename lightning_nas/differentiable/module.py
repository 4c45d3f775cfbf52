"""Weights and alphas that are learnt together, as a LightningModule."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import MulticlassAccuracy

from lightning_nas import checkpoint
from lightning_nas.data import ImageDataModule, classes_of
from lightning_nas.differentiable.alphas import Alphas, Gradients, Vectors
from lightning_nas.differentiable.halves import require_halves
from lightning_nas.differentiable.strategy import LearningStrategy
from lightning_nas.errors import NASError
from lightning_nas.finite import require_finite_weights
from lightning_nas.loggers import is_logged_step, log_metrics
from lightning_nas.module import SupernetModule
from lightning_nas.optim.schedule import configure_like
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import CellSupernet, Path

Batch = Sequence[Tensor]


@dataclass(frozen=True)
class AlphaOptimizer:
    """Adam for the alphas; the defaults are those of DARTS (Liu et al., ICLR 2019, App. A.1).

    Attributes:
        lr: Learning rate, constant.
        betas: Decay of its two averages.
        weight_decay: Added to the gradient.

    Raises:
        NASError: A number that is out of range.
    """

    lr: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise NASError(f"alphas.lr is {self.lr}: valid are numbers above 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise NASError(f"alphas.betas is {self.betas}: valid are two numbers from 0 to less than 1")
        if self.weight_decay < 0:
            raise NASError(f"alphas.weight_decay is {self.weight_decay}: valid are numbers from 0")

    def build(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer."""
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Clipping:
    """How the gradient of the weights is clipped; that of the alphas never is.

    Attributes:
        value: The largest norm, or value; None clips nothing.
        algorithm: ``norm`` or ``value``; None is ``norm``, as in the Trainer.
    """

    value: float | None = None
    algorithm: str | None = None


class DifferentiableModule(LightningModule):
    """Learns the weights of a supernet and the alphas of its choices, each with an optimizer of its own.

    Optimization is manual. Gradients are computed for what is updated and nothing else, so that neither optimizer ever
    sees a gradient of the other's loss.

    Args:
        model: Has the supernet, and says how its weights are trained.
        strategy: How a step learns.
        alphas: The optimizer of the alphas.
        clipping: Of the gradient of the weights.
        seed: Of the first alphas, of noise and of samples.

    Attributes:
        supernet: The weights.
        alphas: What is learnt of the architecture.

    Raises:
        NASError: The space has no mixtures, or not every combination of choices is a path of it, or an option of
            ``model`` means nothing here.
    """

    def __init__(
        self,
        model: SupernetModule,
        strategy: LearningStrategy,
        alphas: AlphaOptimizer = AlphaOptimizer(),
        clipping: Clipping = Clipping(),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        _require_suitable(model)
        self.space = model.space
        self.supernet = cast(CellSupernet, model.supernet)
        self.strategy = strategy
        self.alpha_settings = alphas
        self.clipping = clipping
        self.seed = seed
        self.alphas = Alphas(self.space, self._initial())
        self.mixture_hits = MulticlassAccuracy(self.space.num_classes, average="micro")
        self.genotype_hits = MulticlassAccuracy(self.space.num_classes, average="micro")
        self.memory_format = model.memory_format
        self.label_smoothing = model.label_smoothing
        self._configure = configure_like(model)
        self._batches: list[Batch] = []
        self._draws = 0
        self._losses: dict[str, Tensor] = {}

    def _initial(self) -> Vectors:
        rng = generator(self.seed, Stream.GUMBEL)  # steps have counters
        drawn = (self.strategy.initial(choices, rng) for choices in self.space.num_choices)
        return [torch.from_numpy(vector).to(torch.get_default_dtype()) for vector in drawn]

    def forward(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Logits (N x classes) of a mixture for images ``x`` (N x C x H x W).

        Args:
            x: Images.
            weights: One vector per decision.
        """
        return self.supernet.forward_mixture(self._laid_out(x), weights)

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.memory_format)

    # --------------------------------------------------------------------------------------------- optimizers

    def configure_optimizers(self) -> Any:
        """The optimizer of the weights with its schedule, and that of the alphas."""
        weights = self._configure(self, trained=self.supernet)
        return [weights, {"optimizer": self.alpha_settings.build(self.alphas.vectors)}]

    @property
    def weight_optimizer(self) -> torch.optim.Optimizer:
        """That of the weights."""
        return self._optimizers[0].optimizer

    @property
    def _optimizers(self) -> list[LightningOptimizer]:
        return cast(list[LightningOptimizer], self.optimizers())

    def setup(self, stage: str) -> None:
        """Looks at the data.

        Raises:
            NASError: Two halves are needed that the data does not give.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and self.strategy.needs_held_out:
            assert isinstance(data, ImageDataModule)
            require_halves(data)

    def on_fit_start(self) -> None:
        """Looks whether the strategy suits.

        Raises:
            NASError: It does not.
        """
        self.strategy.check(self)

    # ----------------------------------------------------------------------- what a strategy makes a step of

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameters of the supernet."""
        return list(self.supernet.parameters())

    @property
    def progress(self) -> float:
        """The part of the epochs that is over, in [0, 1)."""
        assert self.trainer.max_epochs
        return self.trainer.current_epoch / self.trainer.max_epochs

    def gumbel(self) -> Vectors:
        """Standard Gumbel noise, one vector per decision: another one at every call, a function of seed and step."""
        rng = generator(self.seed, Stream.GUMBEL, self.global_step, self._draws)
        self._draws += 1
        return [torch.from_numpy(rng.gumbel(size=len(vector))).to(vector) for vector in self.alphas.vectors]

    def training_loss(self, mixture: Sequence[Tensor], weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss of a mixture on the images of the weights.

        Args:
            mixture: One vector per decision.
            weights: Parameters of the supernet by name, in the place of its own; None takes its own.
        """
        return self._loss("train/loss", self._batches[0], mixture, weights)

    def held_out_loss(self, mixture: Sequence[Tensor], weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """The same on the images of the alphas."""
        return self._loss("learn/loss", self._batches[1], mixture, weights)

    def _loss(
        self, name: str, batch: Batch, mixture: Sequence[Tensor], weights: Mapping[str, Tensor] | None
    ) -> Tensor:
        images, labels, *_ = batch
        if weights is None:
            logits = self(images, mixture)
        else:
            # Copies, because a look ahead must not enter running statistics.
            buffers = {key: value.clone() for key, value in self.supernet.named_buffers()}
            state = {f"supernet.{key}": value for key, value in {**buffers, **weights}.items()}
            logits = functional_call(self, state, (images, mixture))
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self._losses[name] = loss.detach()
        return loss

    def gradients(self, loss: Tensor, of: Sequence[Tensor]) -> Gradients:
        """The gradients of a loss, None where it does not depend on one."""
        return torch.autograd.grad(loss, list(of), allow_unused=True)

    def update_alphas(self, gradients: Gradients) -> None:
        """Takes a step with the alphas; those of settled decisions rest."""
        settled = self.alphas.settled
        if all(settled):
            return
        open_ones = [None if rests else g for g, rests in zip(gradients, settled, strict=True)]
        # Not as Lightning's optimizer, whose steps count: one per batch is that of the weights.
        self._set(self.alphas.vectors, open_ones)
        self._optimizers[1].optimizer.step()

    def update_weights(self, gradients: Gradients) -> None:
        """Clips the gradients and takes a step with the weights."""
        self._set(self.weights, gradients)
        self.clip_gradients(self.weight_optimizer, self.clipping.value, self.clipping.algorithm)
        self._optimizers[0].step()

    def _set(self, parameters: Sequence[Tensor], gradients: Gradients) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

    # ----------------------------------------------------------------------------------------------- training

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Learns weights and alphas; see the strategy.

        Raises:
            NASError: A loss is not finite (looked at on steps that are logged, and before a checkpoint is written).
        """
        self._batches = _halves(batch) if self.strategy.needs_held_out else [batch]
        self._draws = 0
        self._losses = {}
        self.strategy.learn(self)
        self._step_schedule("step")
        if is_logged_step(self.trainer):
            self._require_finite_losses()
            log_metrics(self.trainer, {name: float(loss) for name, loss in self._losses.items()})
            self.log("train/loss", self._losses["train/loss"], prog_bar=True, logger=False)

    def _step_schedule(self, interval: str) -> None:
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == interval:
                cast(LambdaLR, config.scheduler).step()

    def on_train_epoch_end(self) -> None:
        """Settles what is clear; the checkpoint of the epoch is written after."""
        self._step_schedule("epoch")
        self.strategy.end_epoch(self.alphas)

    def _require_finite_losses(self) -> None:
        for name, loss in self._losses.items():
            if not math.isfinite(loss):
                raise NASError(
                    f"{name} is {float(loss)} at step {self.global_step}: lower the learning rates (model.optimizer, "
                    "alphas.lr) or clip gradients (trainer.gradient_clip_val)"
                )

    # --------------------------------------------------------------------------------------------- evaluation

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts the hits of the mixture and of the genotype, both with the shared weights."""
        images, labels, *_ = batch
        self.mixture_hits.update(self(images, self.alphas.probabilities()), labels)
        self.genotype_hits.update(self.supernet(self._laid_out(images), self.genotype), labels)

    def on_validation_epoch_end(self) -> None:
        """Logs ``val/accuracy`` of the mixture and ``val/genotype_accuracy``, in percent."""
        counted = {"val/accuracy": self.mixture_hits, "val/genotype_accuracy": self.genotype_hits}
        for name, hits in counted.items():
            self.log(name, 100 * hits.compute())
            hits.reset()

    @property
    def genotype(self) -> Path:
        """The most probable path."""
        return self.alphas.genotype()

    # -------------------------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        """Describes space and batch-norm in plain types, and how the architecture is learnt.

        Raises:
            NASError: A loss or a weight is not finite: the checkpoint would take the place of a good one.
        """
        self._require_finite_losses()
        require_finite_weights(self)
        facts = {"coasting": [], "classes": classes_of(self), "learning": self.learning()}
        checkpoint.describe(checkpoint_, self.space, self.supernet.norm, **facts)

    @checkpoint.named
    def on_load_checkpoint(self, checkpoint_: dict[str, Any]) -> None:
        """Refuses to continue something else, or otherwise than it was begun.

        Raises:
            NASError: The checkpoint is not of a learnt architecture, or of another space or other settings.
        """
        found = checkpoint.require(checkpoint_, self.space, self.supernet.norm)
        if "learning" not in found:
            raise NASError("the checkpoint holds a supernet without alphas: learn continues its own alone")
        given = self.learning()
        for name in sorted(found["learning"].keys() | given.keys()):
            before, now = found["learning"].get(name), given.get(name)
            if before != now:
                raise NASError(f"the learning was begun with {name} {before}, but now {name} is {now}")
        trained, classes = found["classes"], classes_of(self)
        if trained is not None and classes is not None:
            checkpoint.require_classes(trained, classes)

    def learning(self) -> dict[str, Any]:
        """What decides how the architecture is learnt, in plain types."""
        settings = self.alpha_settings
        return {
            "strategy": type(self.strategy).__name__,
            **{f"strategy.{name}": value for name, value in asdict(cast(Any, self.strategy)).items()},
            "alphas.lr": settings.lr,
            "alphas.betas": list(settings.betas),
            "alphas.weight_decay": settings.weight_decay,
            "trainer.gradient_clip_val": self.clipping.value,
            "trainer.gradient_clip_algorithm": self.clipping.algorithm,
            "seed": self.seed,
        }


def _halves(batch: Batch) -> list[Batch]:
    """The images of the weights, and those of the alphas."""
    parts = [part.chunk(2) for part in batch]
    return [list(half) for half in zip(*parts, strict=True)]


def _require_suitable(model: SupernetModule) -> None:
    name = type(model.space.whole).__name__
    if not isinstance(model.supernet, CellSupernet):
        raise NASError(
            f"model.space is {name}, whose supernet runs no mixtures: architectures are learnt on cells, such as "
            "NASBench201 and DARTS"
        )
    if not model.space.is_product:
        raise NASError(
            f"model.space is {name} with dependent choices: alphas decide each choice by itself, so every combination must "
            "be a path, as in NASBench201 and DARTS"
        )
    if model.inactive_params != "skip":
        raise NASError(
            f"model.inactive_params is {model.inactive_params!r}, but learning trains mixtures: valid is 'skip'"
        )
    if model.grad_reduce != "mean":
        raise NASError(
            f"model.grad_reduce is {model.grad_reduce!r}, but learning trains mixtures: valid is 'mean'"
        )
