"""Data importance sampling: images that are far from learnt are seen more often."""

from typing import Any, Literal

import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from lightning_nas.errors import NASError
from lightning_nas.loggers import log_metrics
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.base import of_rank_zero
from lightning_nas.samplers.data import DataSampler
from lightning_nas.samplers.length import length_of
from lightning_nas.samplers.smoothing import Smoothing, require_end, require_share, smoothing

DataGranularity = Literal["instance", "class"]
Unseen = Literal["zero", "keep", "mean"]


class DataImportanceSampler(DataSampler):
    """Shows images the more often the larger the gradients of their losses are.

    DA of Lu, Hu, Yang, Sun, Mei, Tan and Song, PA&DA: Jointly Sampling Path and Data for Consistent NAS, CVPR 2023
    (Algorithm 1, Eq. 11 and 13)::

        epoch 0 shows every image once
        for every epoch e of E:
            every step: s_i = ||softmax(z_i) - onehot(y_i)||_2 of the images i of the batch, z from the step itself
            tau = e / E
            q = tau * s / sum(s) + (1 - tau) / N
            epoch e + 1 shows N images, drawn with replacement from q

    An image that was seen several times in an epoch has s = (s + new) / 2. With several paths per step, s is the mean
    over them. Label smoothing does not enter. The loss is not corrected for the distribution.

    The published distribution changes once per epoch, because batches are loaded ahead; so does this one. (Table 4
    has updates per step for paths only.)

    Args:
        granularity: ``instance``: every image has an importance of its own. ``class``: all images of a class have
            the mean importance of those that were seen. (Table 4; the released code has no classes, so the mean is
            this implementation's.)
        schedule: How tau changes from epoch to epoch: ``rising`` from 0 (published), ``falling`` to 0, ``constant``.
        tau: Largest tau, in [0, 1]. It is reached after the last epoch only, or with ``constant`` always.
        unseen: Importance of images (or classes) that no batch of the epoch had: ``zero`` (released), ``keep`` that
            of earlier epochs, or the ``mean`` of those that were seen.
        seed: Seed of the draws; None takes the one of ``seed_everything``.

    Attributes:
        epoch: The epoch under way.
        order: Its images, shape (N,); None in the first.
        probabilities: q that they were drawn from, shape (N,); None in the first.
        importance: s of all images after the last complete epoch, shape (N,).
    """

    options = ("granularity", "schedule", "tau", "unseen")

    def __init__(
        self,
        granularity: DataGranularity = "instance",
        schedule: Smoothing = "rising",
        tau: float = 1.0,
        unseen: Unseen = "zero",
        seed: int | None = None,
    ) -> None:
        require_share("data_sampler.tau", tau)
        self.granularity: DataGranularity = granularity
        self.schedule: Smoothing = schedule
        self.tau = tau
        self.unseen: Unseen = unseen
        super().__init__(seed)
        self.begin()

    def begin(self) -> None:
        """No importance."""
        self.epoch = 0
        self.order: Tensor | None = None
        self.probabilities: Tensor | None = None
        self.importance: Tensor | None = None
        self._seen: list[Tensor] = []
        self._norms: list[Tensor] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the length of the run.

        Raises:
            NASError: It has no end, and the schedule needs one.
        """
        self._length = length_of(trainer)
        require_end(self._length, self.schedule, "data_sampler.schedule")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves what a checkpoint held to the device of the images."""
        self._seen, self._norms = (
            [part.to(pl_module.device) for part in parts] for parts in (self._seen, self._norms)
        )

    def indices(self, epoch: int) -> Tensor:
        """The images of an epoch; the first time that a loader asks for the next one, they are drawn.

        Raises:
            NASError: The epoch is over.
        """
        if epoch > self.epoch:
            self._begin_epoch(epoch)
        if epoch < self.epoch:
            raise NASError(f"epoch {epoch} was asked for its images, but epoch {self.epoch} has begun")
        return self.first.indices(0) if self.order is None else self.order

    def _begin_epoch(self, epoch: int) -> None:
        tau = smoothing(self.schedule, self.tau, min(1.0, self.epoch / self._length.epochs))

        def drawn() -> tuple[Tensor, Tensor, Tensor]:
            importance = self._importance()
            probabilities = data_probabilities(importance, tau)
            rng = generator(self.seed, Stream.IMPORTANCE, epoch)
            return (
                importance,
                probabilities,
                draw(probabilities, torch.from_numpy(rng.random(len(importance)))),
            )

        self.importance, self.probabilities, self.order = of_rank_zero(self.trainer, drawn)
        self.epoch, self._seen, self._norms = epoch, [], []
        metrics = {
            "data_importance/effective_sample_size": float(1 / (self.probabilities**2).sum()),
            "data_importance/distinct_images": float(len(self.order.unique())),
        }
        log_metrics(self.trainer, metrics)

    def _importance(self) -> Tensor:
        labels = self.data.training_labels
        before = torch.zeros(len(labels), dtype=torch.float64) if self.importance is None else self.importance
        seen, norms = self._measured()
        finite = norms.isfinite()
        importance = last_halved(seen[finite], norms[finite].double(), len(labels))
        if self.granularity == "class":
            importance = class_means(importance, labels)
        unknown = importance.isnan()
        known = importance[~unknown]
        mean = known.mean() if len(known) else torch.zeros((), dtype=torch.float64)
        fill = {"zero": torch.zeros_like(before), "keep": before, "mean": mean.expand_as(before)}
        return torch.where(unknown, fill[self.unseen], importance)

    def _measured(self) -> tuple[Tensor, Tensor]:
        """The images seen so far in this epoch, in their order, and the norms of their gradients."""
        if not self._seen:
            return torch.empty(0, dtype=torch.int64), torch.empty(0)
        return torch.cat(self._seen).cpu(), torch.cat(self._norms).cpu()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the importance of the images of the step, those of all ranks."""
        assert isinstance(pl_module, SupernetModule)
        if not pl_module.logits:
            return
        _, labels, indices = batch
        norms = torch.stack([gradient_norms(logits, labels) for logits in pl_module.logits]).mean(0)
        self._seen.append(of_all_ranks(trainer, indices))
        self._norms.append(of_all_ranks(trainer, norms))

    def state_dict(self) -> dict[str, Any]:
        """Seed, options, the order of the epoch, and what was measured in it so far."""
        seen, norms = self._measured()
        return super().state_dict() | {
            "epoch": self.epoch,
            "order": self.order,
            "probabilities": self.probabilities,
            "importance": self.importance,
            "seen": seen,
            "norms": norms,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues there.

        Raises:
            NASError: The run had another seed or other options.
        """
        super().load_state_dict(state_dict)
        for name in ("epoch", "order", "probabilities", "importance"):
            setattr(self, name, state_dict[name])
        self._seen, self._norms = (
            [state_dict[name]] if len(state_dict[name]) else [] for name in ("seen", "norms")
        )


def of_all_ranks(trainer: Trainer, values: Tensor) -> Tensor:
    """What belongs to the images of a batch of all ranks, in the order of ``EpochOrder``."""
    if trainer.world_size == 1:
        return values
    shares = [torch.empty_like(values) for _ in range(trainer.world_size)]
    torch.distributed.all_gather(shares, values)
    return torch.stack(shares, dim=1).flatten()


def gradient_norms(logits: Tensor, labels: Tensor) -> Tensor:
    """Norm of the gradient of the cross-entropy in the logits, for every image, shape (N,) (Eq. 13).

    Example:
        >>> logits = torch.tensor([[2.0, 0, 0], [0, 0, 0]], dtype=torch.float64)
        >>> gradient_norms(logits, torch.tensor([0, 1])).round(decimals=4).tolist()
        [0.2609, 0.8165]
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    probabilities = logits.softmax(1, dtype=dtype)
    gradients = probabilities - F.one_hot(labels, logits.shape[1])
    return gradients.square().sum(1).sqrt()


def last_halved(indices: Tensor, values: Tensor, number: int) -> Tensor:
    """For every index its values in their order, where each further one is averaged with what was there.

    Args:
        indices: From 0 to ``number`` - 1, in any order and any number of times.
        values: As many.
        number: Length of the result.

    Returns:
        NaN where an index does not occur.

    Example:
        >>> last_halved(torch.tensor([2, 0, 2, 2]), torch.tensor([8.0, 5.0, 4.0, 1.0]), 3).tolist()
        [5.0, nan, 3.5]
    """
    result = torch.full((number,), torch.nan, dtype=values.dtype)
    order = indices.argsort(stable=True)
    starts = torch.searchsorted(indices[order], indices[order])
    occurrence = torch.arange(len(indices)) - starts
    # One round per occurrence: in each of them an index is there at most once.
    for number_seen in range(int(occurrence.max()) + 1 if len(indices) else 0):
        now = order[occurrence == number_seen]
        before = result[indices[now]]
        result[indices[now]] = values[now] if number_seen == 0 else (before + values[now]) / 2
    return result


def class_means(importance: Tensor, labels: Tensor) -> Tensor:
    """For every image the mean over its class, leaving out NaN; NaN where a class has nothing else."""
    known = ~importance.isnan()
    number = int(labels.max()) + 1
    sums = torch.zeros(number, dtype=importance.dtype).index_add_(0, labels[known], importance[known])
    return (sums / torch.bincount(labels[known], minlength=number))[labels]


def data_probabilities(importance: Tensor, tau: float) -> Tensor:
    """q, the probability of every image; uniform where no image has any importance.

    Example:
        >>> s = torch.tensor([0.2609, 0.8165, 0, 1.3193], dtype=torch.float64)
        >>> data_probabilities(s, tau=0.5).round(decimals=4).tolist()
        [0.1794, 0.2953, 0.125, 0.4002]
    """
    total = importance.sum()
    share = importance / total if total > 0 else torch.ones_like(importance) / len(importance)
    return tau * share + (1 - tau) / len(importance)


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Independent draws with replacement, one for each number that is uniform in [0, 1).

    Not by torch.multinomial, which takes at most 2^24 images.
    """
    cumulative = probabilities.cumsum(0)
    return torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
