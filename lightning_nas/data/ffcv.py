"""Images in FFCV's format, converted by ``lightning-nas convert``."""

import hashlib
from contextlib import suppress
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from lightning_nas.data.augment import Augmentation
from lightning_nas.data.base import Splits, stratified_order
from lightning_nas.data.beton import Beton, BetonFile, Manifest, damaged, ffcv_imports, require_size
from lightning_nas.data.decoded import DecodedDataModule, DecodedImages, Decoding, Pixels
from lightning_nas.data.folders import held_out
from lightning_nas.data.image_folder import default_cache_dir
from lightning_nas.data.order import EpochOrder, QuasiRandomOrder
from lightning_nas.data.source import Request
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole


class BetonImages(DecodedImages):
    """Some images of a file.

    Args:
        beton: The file.
        chosen: Which of its images, int64, ``N``.
        manifest: Tells how to normalise them.
        decoding: How they are decoded.
        augmentation: Of training images.
    """

    def __init__(
        self,
        beton: Beton,
        chosen: Tensor,
        manifest: Manifest,
        decoding: Decoding,
        augmentation: Augmentation | None = None,
    ) -> None:
        with ffcv_imports():
            from lightning_nas.data.beton_decoder import decode
        labels = torch.from_numpy(beton.labels)[chosen]
        super().__init__(
            labels, torch.tensor(manifest.mean), torch.tensor(manifest.std), decoding, augmentation
        )
        self._beton = beton
        self._chosen = chosen.numpy()
        self._compiled = decode

    @property
    def pages(self) -> Tensor:
        """Number of the page of the file that each image lies in."""
        return torch.from_numpy(self._beton.pages[self._chosen])

    def decode(self, request: Request, images: Pixels) -> None:
        """Decodes images, see ``DecodedImages``."""
        beton, chosen = self._beton, self._chosen[request.indices.numpy()]
        heights, widths = beton.heights[chosen], beton.widths[chosen]
        failed = self._compiled(
            beton.storage,
            beton.pointers[chosen],
            beton.sizes[chosen],
            beton.compressed[chosen],
            heights,
            widths,
            self.boxes(request, heights, widths),
            images,
        )
        if failed >= 0:
            raise damaged(beton.path, f"its image number {chosen[failed]} cannot be decoded")


class FFCVDataModule(DecodedDataModule):
    """Images that ``lightning-nas convert --data IMAGES --out ROOT`` has brought into FFCV's format.

    For photographs a training image is a random crop, and an evaluated one the centre. Small images of one size,
    such as CIFAR's, are wanted whole and with a crop of the padded image: ``area null, centre 1, crop_padding 4``.

    All that is random is drawn from the seed: FFCV's format and decoders are used, not its Loader, whose draws
    cannot be repeated (see beton_decoder.py).

    Attributes:
        classes: Names of the classes in the order of their labels.
    """

    in_channels = 3

    def __init__(
        self,
        root: str | Path,
        image_size: int = 224,
        val_fraction: float | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 200,
        area: tuple[float, float] | None = (0.08, 1.0),
        crop_padding: int = 0,
        flip: bool = True,
        cutout: int = 0,
        centre: float = 0.875,
        balanced: bool = False,
        quasi_random: bool = False,
        workers: int | None = None,
        batches_ahead: int = 2,
        verify: bool = True,
        split_seed: int | None = None,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        """Reads the manifest.

        Args:
            root: Folder that the images were converted into.
            image_size: Height and width to which crops are resized.
            val_fraction: Part of the training images that is held out for validation, between 0 and 1; None for that
                of the manifest.
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            area: Least and largest part of a training image that a crop takes; None for the centre.
            crop_padding: Zero pixels added at each side before a random crop of the resized training image; 0 for no
                crop.
            flip: Whether half of the training images are mirrored.
            cutout: Side of a square of training images that is replaced by the mean colour; 0 for none.
            centre: Side of the centred square that is evaluated, as a part of the shorter side of an image.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            quasi_random: Whether the file is read piece by piece, see ``QuasiRandomOrder``: for files larger than
                memory on slow disks.
            workers: Threads that decode; None for one per core.
            batches_ahead: Batches that are decoded while another one is used.
            verify: Whether the files' checksums are compared before they are used for the first time on a machine.
            split_seed: Seed of the split; None for that of the manifest.
            seed: Seed of the training order and of augmentation; None for the one given to ``seed_everything``.
            name: Name of the dataset in tables of ground truth; None for that of the manifest.

        Raises:
            NASError: If an argument is out of range, or there are no converted images.
        """
        self.root = Path(root).expanduser().resolve()
        self.manifest = Manifest.read(self.root)
        if missing := {"train", "test"} - self.manifest.files.keys():
            raise NASError(
                f"root is {root}, where the conversion is not finished ({', '.join(sorted(missing))} is missing): the same "
                "command continues it"
            )
        super().__init__(
            image_size,
            batch_size,
            eval_batch_size,
            Augmentation(area=area, padding=crop_padding, flip=flip, cutout=cutout),
            centre,
            balanced,
            workers,
            batches_ahead,
            self.manifest.split_seed if split_seed is None else split_seed,
            seed,
        )
        if balanced and quasi_random:
            raise NASError("balanced and quasi_random are both true: an epoch has one order")
        self.quasi_random = quasi_random
        self.verify = verify
        self.classes = self.manifest.classes
        self.name = name or self.manifest.dataset
        self.num_classes = len(self.classes)
        fraction = self.manifest.val_fraction if val_fraction is None else val_fraction
        self.num_val = held_out(self.manifest.files["train"].images, fraction, batch_size)

    def prepare_data(self) -> None:
        """Verifies the files; Lightning calls it in one process of a machine and lets others wait.

        Raises:
            NASError: A file is missing, truncated, or another one than the manifest says.
        """
        for file in self.manifest.files.values():
            require_size(self.root / file.name, file.bytes)
            if self.verify:
                _verify(self.root / file.name, file)

    def open_splits(self) -> Splits:
        """The converted images of every split."""
        files = self.manifest.files
        train, test = (Beton.open(self.root, files[split], self.num_classes) for split in ("train", "test"))
        order = stratified_order(torch.from_numpy(train.labels), self.split_seed)
        everything, manifest, decoding = torch.arange(len(test.labels)), self.manifest, self.decoding
        return Splits(
            BetonImages(train, order[self.num_val :], manifest, decoding, self.augmentation),
            BetonImages(train, order[: self.num_val], manifest, decoding),
            BetonImages(test, everything, manifest, decoding),
        )

    def default_order(self) -> EpochOrder | None:
        """The order of the pieces of the file, where that is asked."""
        if not self.quasi_random:
            return super().default_order()
        assert isinstance(self.splits.train, BetonImages)
        return QuasiRandomOrder(self.splits.train.pages, self.seed)


def _verify(path: Path, file: BetonFile) -> None:
    """Compares the checksum, once for every state of a file: the folder of the cache remembers it."""
    state = f"{path}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\0{file.sha256}"
    remembered = default_cache_dir() / "verified" / hashlib.sha256(state.encode()).hexdigest()
    if remembered.exists():
        return
    with (
        Console(stderr=True).status(f"Verifying {path.name} ({file.bytes / 1e9:.1f} GB)"),
        path.open("rb") as content,
    ):
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != file.sha256:
        raise damaged(path, "its checksum differs")
    # Where the folder cannot be written, the next run compares again.
    with suppress(OSError), written_whole(remembered) as temporary:
        temporary.write_text(str(path))
