"""Photographs in folders, such as ImageNet's, decoded when they are needed."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lightning_nas.data.augment import Augmentation
from lightning_nas.data.base import Splits, stratified_order
from lightning_nas.data.decoded import DecodedDataModule, DecodedImages, Decoding, Pixels
from lightning_nas.data.folders import ImageFolders, LabelledFiles, held_out, read_rgb
from lightning_nas.data.source import Request

# Of ImageNet's training images (torchvision's values), as parts of the brightest.
MEAN = 0.485, 0.456, 0.406
STD = 0.229, 0.224, 0.225


class ImageFiles(DecodedImages):
    """Image files of any size.

    Args:
        labelled: The files and their classes.
        decoding: How they are decoded.
        augmentation: Of training images.
    """

    def __init__(
        self, labelled: LabelledFiles, decoding: Decoding, augmentation: Augmentation | None = None
    ) -> None:
        mean, std = (255 * torch.tensor(values) for values in (MEAN, STD))
        super().__init__(labelled.labels, mean, std, decoding, augmentation)
        self._files = labelled.files

    def decode(self, request: Request, images: Pixels) -> None:
        """Reads files, see ``DecodedImages``."""
        for row, index in enumerate(request.indices.tolist()):
            image = read_rgb(self._files[index])
            [(top, left, height, width)] = self.boxes(
                request.of(slice(row, row + 1)), [image.height], [image.width]
            )
            part = image.crop((left, top, left + width, top + height))
            images[row] = np.asarray(part.resize((self.image_size,) * 2, Image.Resampling.BILINEAR))


class ImageNetDataModule(DecodedDataModule):
    """ImageNet (Russakovsky et al., IJCV 2015), or other photographs, as image files of any size.

    The files lie in ``root/train/<class>/*`` and ``root/val/<class>/*``. ImageNet's own validation images are the test
    split; the validation split, on which paths are scored, is a stratified part of the training images.

    A training image is a random crop (Szegedy et al., Going Deeper with Convolutions, CVPR 2015), half of them
    mirrored; an evaluated one is the centre of the image. Converted to FFCV's format the same images are read
    twice as fast or faster, see ``FFCVDataModule``.

    Attributes:
        classes: Names of the classes in the order of their labels.
    """

    in_channels = 3

    def __init__(
        self,
        root: str | Path,
        image_size: int = 224,
        val_fraction: float = 0.02,
        batch_size: int = 128,
        eval_batch_size: int = 200,
        area: tuple[float, float] = (0.08, 1.0),
        flip: bool = True,
        centre: float = 0.875,
        balanced: bool = False,
        workers: int | None = None,
        batches_ahead: int = 2,
        split_seed: int = 0,
        seed: int | None = None,
        name: str = "imagenet",
    ) -> None:
        """Lists the files, without reading them.

        Args:
            root: Folder with ``train`` and ``val`` or ``test``.
            image_size: Height and width to which crops are resized.
            val_fraction: Part of the training images that is held out for validation, between 0 and 1.
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            area: Least and largest part of a training image that a crop takes.
            flip: Whether half of the training images are mirrored.
            centre: Side of the centred square that is evaluated, as a part of the shorter side of an image.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            workers: Threads that decode; None for one per core.
            batches_ahead: Batches that are decoded while another one is used.
            split_seed: Seed of the split; the same for all runs that are to be compared.
            seed: Seed of the training order and of augmentation; None for the one given to ``seed_everything``.
            name: Name of the dataset in tables of ground truth.

        Raises:
            NASError: If an argument is out of range, the folders are not as described, or a split is empty.
        """
        super().__init__(
            image_size,
            batch_size,
            eval_batch_size,
            Augmentation(area=area, flip=flip),
            centre,
            balanced,
            workers,
            batches_ahead,
            split_seed,
            seed,
        )
        self.name = name
        self.classes, self._train, self._test = ImageFolders.list(Path(root).expanduser().resolve())
        self.num_classes = len(self.classes)
        self.num_val = held_out(len(self._train.files), val_fraction, batch_size)

    def open_splits(self) -> Splits:
        """The files of every split."""
        order = stratified_order(self._train.labels, self.split_seed)
        return Splits(
            ImageFiles(self._train.of(order[self.num_val :]), self.decoding, self.augmentation),
            ImageFiles(self._train.of(order[: self.num_val]), self.decoding),
            ImageFiles(self._test, self.decoding),
        )
