"""CIFAR-10 and CIFAR-100, as their authors distribute them."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

from torchvision import datasets
from torchvision.datasets.utils import download_and_extract_archive

from lightning_nas.data.batch_files import Rows, joined, read_binary, read_pickled, require_md5, split
from lightning_nas.data.folders import held_out
from lightning_nas.data.resident import RawSplits, ResidentDataModule
from lightning_nas.data.source import Batch
from lightning_nas.errors import NASError

NUM_TRAIN, NUM_TEST = 50_000, 10_000
IMAGE_SIZE = 32
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


class Version(ABC):
    """A form in which the images are distributed. All have the same images, in the same order.

    Attributes:
        folder: Where the files of the version are.
        train: Their names, in order.
        test: Their names.
    """

    folder: str
    train: list[str]
    test: list[str]

    def __init__(self, classes: Literal[10, 100]) -> None:
        self.labels = range(classes)

    def missing(self, root: Path) -> list[Path]:
        """The files that are not there."""
        files = [root / self.folder / name for name in self.train + self.test]
        return [file for file in files if not file.is_file()]

    @abstractmethod
    def read(self, file: Path) -> Rows:
        """The images of a file; a ``NASError`` if it is not the published one."""

    def read_all(self, root: Path, names: list[str]) -> Batch:
        """The images of several files."""
        return joined((self.read(root / self.folder / name) for name in names), IMAGE_SIZE)


class PythonVersion(Version):
    """Pickled dictionaries, with checksums that torchvision lists."""

    def __init__(self, classes: Literal[10, 100]) -> None:
        super().__init__(classes)
        self.published = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[classes]
        self.folder = self.published.base_folder
        self.train = [name for name, _ in self.published.train_list]
        self.test = [name for name, _ in self.published.test_list]
        self._label_key = {10: "labels", 100: "fine_labels"}[classes]

    def read(self, file: Path) -> Rows:
        """Checks and reads a pickle."""
        require_md5(file, dict(self.published.train_list + self.published.test_list)[file.name])
        return read_pickled(file, self._label_key, IMAGE_SIZE, self.labels)

    def download(self, root: Path) -> None:
        """Downloads the archive and unpacks it.

        Raises:
            NASError: It cannot be downloaded.
        """
        published = self.published
        try:
            download_and_extract_archive(
                published.url, str(root), filename=published.filename, md5=published.tgz_md5
            )
        except (OSError, RuntimeError) as error:
            raise NASError(
                f"download is true, but {published.url} cannot be downloaded into {root}: {error}."
            ) from error


class BinaryVersion(Version):
    """Records of label and pixels. Those of CIFAR-100 have the label of a superclass first."""

    def __init__(self, classes: Literal[10, 100]) -> None:
        super().__init__(classes)
        self.folder = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}[classes]
        self.train = {10: [f"data_batch_{number}.bin" for number in range(1, 6)], 100: ["train.bin"]}[classes]
        self.test = {10: ["test_batch.bin"], 100: ["test.bin"]}[classes]
        self._label_bytes = {10: 1, 100: 2}[classes]

    def read(self, file: Path) -> Rows:
        """Checks the size of a file and reads it."""
        images = NUM_TEST if file.name in self.test else NUM_TRAIN // len(self.train)
        published, size = images * (self._label_bytes + 3 * IMAGE_SIZE**2), file.stat().st_size
        if size != published:
            raise NASError(f"{file} has {size:,} bytes, but the published file {published:,}: get it again.")
        return read_binary(file, self._label_bytes, IMAGE_SIZE, self.labels)


class CIFARDataModule(ResidentDataModule):
    """60,000 colour images of 32x32 pixels in 10 or 100 classes (Krizhevsky, 2009), of which 10,000 are for testing.

    Either of two versions under ``root`` is read, into the same splits: the python version, which torchvision
    downloads as well (folder ``cifar-10-batches-py`` or ``cifar-100-python``), or the binary version
    (``cifar-10-batches-bin`` or ``cifar-100-binary``). Of images as files, in a folder for every class, there is
    ``ImageFolderDataModule``.

    The validation split is a stratified part of the training images. NAS-Bench-201 and DARTS hold out half of them:
    ``val_fraction`` 0.5.
    """

    in_channels = 3
    image_size = IMAGE_SIZE

    def __init__(
        self,
        classes: Literal[10, 100] = 10,
        root: str | Path = "datasets",
        download: bool = False,
        val_fraction: float = 0.1,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        crop_padding: int = 4,
        flip: bool = True,
        cutout: int = 0,
        balanced: bool = False,
        split_seed: int = 0,
        seed: int | None = None,
    ) -> None:
        """Looks for the files, without reading them.

        Args:
            classes: 10 for CIFAR-10, 100 for CIFAR-100 with its fine labels.
            root: Folder that holds the folder of the python or of the binary version.
            download: Whether to download the python version, 160 MB, where neither is there.
            val_fraction: Part of the training images that is held out for validation, between 0 and 1.
            batch_size: Number of training images per batch and process.
            eval_batch_size: Number of images per batch in evaluation.
            crop_padding: Zero pixels added at each side before a random crop of training images; 0 for no crop.
            flip: Whether half of the training images are mirrored.
            cutout: Side of a square of training images that is replaced by the mean colour; 0 for none.
            balanced: Whether an epoch shows every class equally often, see ``BalancedOrder``.
            split_seed: Seed of the split; the same for all runs that are to be compared.
            seed: Seed of the training order and of augmentation; None for the one given to ``seed_everything``.

        Raises:
            NASError: If an argument is out of range, a split is empty, or files are missing that are not downloaded.
        """
        super().__init__(batch_size, eval_batch_size, crop_padding, flip, cutout, balanced, split_seed, seed)
        if classes not in (10, 100):
            raise NASError(f"classes is {classes}, but must be 10 or 100.")
        self.name = f"cifar{classes}"
        self.num_classes = classes
        self.num_val = held_out(NUM_TRAIN, val_fraction, batch_size)
        self.root = Path(root).expanduser()
        self.download = download
        self._python = PythonVersion(classes)
        self._version = self._found([self._python, BinaryVersion(classes)])

    def _found(self, versions: list[Version]) -> Version:
        """The version that is there, or is to be downloaded."""
        for version in versions:
            if not version.missing(self.root):
                return version
        if self.download:
            return self._python
        for version in versions:
            if (self.root / version.folder).is_dir():
                raise NASError(
                    f"root must hold all files of {version.folder}, but there is no {version.missing(self.root)[0]}."
                )
        python, binary = (version.folder for version in versions)
        raise NASError(
            f"root is {self.root}, but must be a folder with {python} or {binary} of {PAGE}; download: true gets it."
        )

    def prepare_data(self) -> None:
        """Downloads what is missing; Lightning calls it in one process and lets others wait.

        Raises:
            NASError: If the download fails.
        """
        if self.download and self._version.missing(self.root):
            self._python.download(self.root)

    def read_splits(self) -> RawSplits:
        """Reads, checks and splits the images."""
        self.prepare_data()
        version = self._version
        train_and_val, test = (version.read_all(self.root, names) for names in (version.train, version.test))
        return split(train_and_val, test, self.num_val, self.split_seed)
