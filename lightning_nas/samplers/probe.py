"""What methods that compare paths need: several of them, and validation images."""

from collections.abc import Sequence

from lightning import Trainer
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_nas.data import ImageDataModule
from lightning_nas.density import probe_indices
from lightning_nas.density.representation import FEWEST_IMAGES
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.spaces import SearchSpace


def draw_probe(
    trainer: Trainer, module: SupernetModule, size: int, seed: int, key: str = "sampler.probe_size"
) -> tuple[int, ...]:
    """Which validation images they are, fixed by the seed.

    Args:
        trainer: Knows the data.
        module: Whose paths are compared.
        size: How many images.
        seed: Seed of the draw.
        key: The option that gave their number.

    Raises:
        NASError: The data has no validation images to offer or too few of them, or they are too few for the
            statistics of batch-norm.
    """
    has_norm = any(isinstance(layer, _BatchNorm) for layer in module.supernet.modules())
    if has_norm and size < FEWEST_IMAGES:
        raise NASError(
            f"{key} is {size}, but batch-norm takes its statistics from these images: valid are "
            f"numbers from {FEWEST_IMAGES}"
        )
    return probe_indices(image_data(trainer).num_val, size, seed, key)


def require_several(space: SearchSpace, name: str) -> None:
    """Refuses a space in which there is nothing to compare.

    Args:
        space: Of the paths.
        name: Who compares them.

    Raises:
        NASError: It has one path.
    """
    if space.size < 2:
        raise NASError(f"{name} compares paths, but model.space has one")


def probe_images(trainer: Trainer, probe: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The images, N x C x H x W, and their labels, (N,)."""
    images, labels = image_data(trainer).validation_images(probe)
    return images, labels


def image_data(trainer: Trainer) -> ImageDataModule:
    """The data module, which alone gives the same validation images at any time.

    Raises:
        NASError: The images come from elsewhere.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, ImageDataModule):
        raise NASError(
            "paths are compared on validation images of the data module: pass an ImageDataModule to the Trainer"
        )
    return data
