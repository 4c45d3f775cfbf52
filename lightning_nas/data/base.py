"""What the framework asks of a dataset, whichever way its images are stored."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lightning_nas.data.loader import EvaluationLoader, TrainingLoader
from lightning_nas.data.order import BalancedOrder, EpochOrder
from lightning_nas.data.source import Batch, ImageSource
from lightning_nas.errors import NASError, require_at_least
from lightning_nas.random import Stream, generator, resolve_seed


def stratified_order(labels: Tensor, split_seed: int) -> Tensor:
    """A random order of images in which every stretch holds the classes in their overall proportions.

    Splits are consecutive stretches of it. A beginning of a split is therefore a fair sample of the split.

    Args:
        labels: Class of each image, ``N``.
        split_seed: Seed of the split. It is not the run's seed, because runs of any seed and the ground truth
            must agree on what is held out.

    Returns:
        A permutation of the image numbers, int64, ``N``.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> sorted(labels[stratified_order(labels, 0)[:2]].tolist())
        [0, 1]
    """
    rng = generator(split_seed, Stream.SPLIT)
    classes = labels.numpy()
    shuffled = rng.permutation(len(classes))
    places = np.empty(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    ends = np.unique(classes, return_counts=True)[1].cumsum()
    for members in np.split(by_class, ends[:-1]):
        # Spread evenly over [0, 1); the common shift keeps classes from lining up in the order of their labels.
        places[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return torch.from_numpy(np.argsort(places))


class Splits(NamedTuple):
    """The images of a dataset."""

    train: ImageSource
    val: ImageSource
    test: ImageSource


class ImageDataModule(LightningDataModule, ABC):
    """A labelled image dataset with a training, a validation and a test split.

    All loaders yield batches ``(x, y)``: normalised float32 images, ``B x C x H x W``, and int64 labels, ``B``. That
    of training adds the positions of the images in the training split, int64, ``B``. The attributes below are set by
    the constructor, before any image is read, so that a model can be built from them.

    Attributes:
        name: Name of the dataset in tables of ground truth.
        num_classes: Number of classes.
        classes: Names of the classes in the order of their labels; None where a dataset names none. What was trained
            on others is not scored on these.
        in_channels: Number of channels of an image.
        image_size: Height and width of an image.
        num_val: Number of validation images.
        batch_size: Number of training images per batch and process.
        eval_batch_size: Number of images per batch in evaluation.
        order: The training images of every epoch; None for every image once, in an order of the seed, or for classes
            equally often where that is asked. A callback may set it in its ``setup``, before the training loader is
            made.
    """

    name: str
    num_classes: int
    classes: Sequence[str] | None = None
    in_channels: int
    image_size: int
    num_val: int

    def __init__(
        self, batch_size: int, eval_batch_size: int, balanced: bool = False, seed: int | None = None
    ) -> None:
        """Remembers what all datasets have in common.

        Args:
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            seed: Seed of the training order and of augmentation; None for the one given to ``seed_everything``.

        Raises:
            NASError: If a batch size is below 1 or the seed is negative.
        """
        super().__init__()
        require_at_least(1, batch_size=batch_size, eval_batch_size=eval_batch_size)
        require_at_least(0, seed=0 if seed is None else seed)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.balanced = balanced
        self.order: EpochOrder | None = None
        self._seed = seed
        self._train_loader: TrainingLoader | None = None
        self._restored: dict[str, Any] | None = None

    @property
    def seed(self) -> int:
        """Seed of the training order and of augmentation."""
        return resolve_seed(self._seed)

    def with_seed(self, seed: int) -> Self:
        """The same images for another run, in the order and with the augmentation of another seed.

        The images are shared: they are opened now at the latest.
        """
        other = copy.copy(self)
        other.splits = self.splits
        other._seed = seed
        return other

    def __getstate__(self) -> dict[str, Any]:
        """What is copied, also to other processes: not the images that are open, nor the run that uses them."""
        state = self.__dict__ | dict.fromkeys(("trainer", "order", "_train_loader", "_restored"))
        state.pop("splits", None)
        return state

    @property
    def rank(self) -> int:
        """Number of this process among all that train together."""
        return self.trainer.global_rank if self.trainer else 0

    @property
    def world_size(self) -> int:
        """Number of processes that train together."""
        return self.trainer.world_size if self.trainer else 1

    @abstractmethod
    def open_splits(self) -> Splits:
        """The images; called once, when the first of them is needed."""

    @cached_property
    def splits(self) -> Splits:
        """The images of all splits."""
        return self.open_splits()

    @property
    def training_labels(self) -> Tensor:
        """Classes of the training images, int64, in the order of the training split."""
        return self.splits.train.labels

    def setup(self, stage: str) -> None:
        """Looks at the splits before anything is trained, and brings them where the model is.

        Raises:
            NASError: A split that is evaluated has fewer images than a batch of it.
        """
        split, images = (
            ("validation", self.splits.val) if stage in ("fit", "validate") else ("test", self.splits.test)
        )
        if len(images) < self.eval_batch_size:
            raise NASError(
                f"eval_batch_size is {self.eval_batch_size}, but the {split} split has {len(images)} images; it must "
                f"be at most {len(images)}."
            )
        if self.trainer:
            for source in self.splits:
                source.to(self.trainer.strategy.root_device)

    def train_dataloader(self) -> TrainingLoader:
        """Augmented training batches of this process in the order of ``order``, from where a checkpoint left off.

        Raises:
            NASError: A data sampler and an option of the data module both choose the images of an epoch.
        """
        if self.order is not None and self.default_order() is not None:
            raise NASError(
                "data_sampler chooses the images of an epoch, and so does data.balanced or data.quasi_random: give one"
            )
        self._train_loader = TrainingLoader(
            self.splits.train,
            self.batch_size,
            seed=self.seed,
            order=self.order or self.default_order(),
            # Lightning's flag asks for the same batches in every epoch.
            repeat=self.trainer is not None and self.trainer.overfit_batches > 0,  # type: ignore[attr-defined]
            rank=self.rank,
            world_size=self.world_size,
        )
        if self._restored:
            self._train_loader.load_state_dict(self._restored)
            self._restored = None
        return self._train_loader

    def default_order(self) -> EpochOrder | None:
        """The order where no callback has set one; None for every image once, in an order of the seed."""
        return BalancedOrder(self.training_labels, self.seed) if self.balanced else None

    # Lightning also keeps the state of the loader itself, but forgets to restore it where something asks for
    # the length of the run (as every schedule over the whole run does) before the loops are restored.
    def state_dict(self) -> dict[str, Any]:
        """Epoch and position of the training batches."""
        return {} if self._train_loader is None else self._train_loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues there with the next training loader, unless a checkpoint is only evaluated."""
        if self.trainer is None or self.trainer.state.fn == TrainerFn.FITTING:
            self._restored = state_dict

    def val_dataloader(self) -> EvaluationLoader:
        """All validation batches: processes share the paths, not the images."""
        return EvaluationLoader(self.splits.val, self.eval_batch_size)

    def test_dataloader(self) -> EvaluationLoader:
        """All test batches."""
        return EvaluationLoader(self.splits.test, self.eval_batch_size)

    def predict_dataloader(self) -> EvaluationLoader:
        """The test batches of this process."""
        return EvaluationLoader(self.splits.test, self.eval_batch_size, self.rank, self.world_size)

    def training_images(self, number: int) -> Batch:
        """The first images of the training split, normalised and not augmented.

        Args:
            number: How many; all there are, where there are fewer. The split is in random order.

        Returns:
            The images, float32, ``number x C x H x W``, and their labels, int64, ``number``.
        """
        return self.splits.train.batch(torch.arange(min(number, len(self.splits.train))))

    def validation_images(self, indices: Sequence[int]) -> Batch:
        """Chosen images of the validation split, normalised and not augmented.

        Args:
            indices: Which images, each in ``[0, num_val)``. The split is in random order, so that its first
                ``n`` images are as good a sample as any.

        Returns:
            The images, float32, ``len(indices) x C x H x W``, and their labels, int64, ``len(indices)``.
        """
        return self.splits.val.batch(torch.as_tensor(indices, dtype=torch.int64))


# Not in the state of the data module: Lightning finds that under the name of its class alone, and averages of
# checkpoints leave it out.
def classes_of(module: LightningModule) -> list[str] | None:
    """What the labels mean that a module is trained or scored on; None where no data module says so.

    Args:
        module: Its trainer, if it has one, knows the data.
    """
    data = None if module._trainer is None else module.trainer.datamodule  # type: ignore[attr-defined]
    return list(data.classes) if isinstance(data, ImageDataModule) and data.classes else None
