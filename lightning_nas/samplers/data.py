"""What a data sampler is."""

from abc import ABC

from lightning import LightningModule, Trainer

from lightning_nas.data import EpochOrder, ImageDataModule, UniformOrder
from lightning_nas.errors import NASError
from lightning_nas.module import require_supernet
from lightning_nas.random import resolve_seed
from lightning_nas.samplers.base import Sampler


class DataSampler(Sampler, EpochOrder, ABC):
    """Chooses the training images of every epoch; it goes with any sampler of paths.

    It is the data module's ``order`` as long as a run lasts. A method implements ``indices``.

    Args:
        seed: Seed of the choices; None takes the one of ``seed_everything``.
    """

    key = "data_sampler"

    def begin(self) -> None:
        """Forgets what another run left; called before a checkpoint may restore it."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes over the order of the training images.

        Raises:
            NASError: There is no supernet, no ImageDataModule, another data sampler, or a Trainer that asks for the
                same images in all epochs.
        """
        if stage != "fit":
            return
        require_supernet(self, pl_module)
        name = type(self).__name__
        if not isinstance(trainer.datamodule, ImageDataModule):  # type: ignore[attr-defined]
            raise NASError(
                f"{name} chooses among the images of a data module: pass an ImageDataModule to the Trainer"
            )
        if sum(isinstance(callback, DataSampler) for callback in trainer.callbacks) > 1:  # type: ignore[attr-defined]
            raise NASError("the Trainer has more than one data sampler: an epoch has one order")
        if trainer.overfit_batches > 0:  # type: ignore[attr-defined]
            raise NASError(
                f"trainer.overfit_batches asks for the same images in every epoch, which {name} would change: leave one "
                "of them out"
            )
        self.seed = resolve_seed(self._given_seed)
        self.trainer = trainer
        self.data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self.data.order = self
        # As in a run without it, which every method begins with.
        self.first = UniformOrder(len(self.data.training_labels), self.data.seed)
        self.begin()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hands the order back."""
        if stage == "fit":
            self.data.order = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Hands the order back of a run that was cut short."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, ImageDataModule) and data.order is self:
            data.order = None
