"""Training batches with random crop and flip: whole batches in memory against image by image.

The images are random pixels of CIFAR-10's shape; what they show does not change the time. The other side is what
torchvision's CIFAR10 does in a DataLoader without workers.
"""

from collections.abc import Callable, Iterable
from itertools import islice

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.measure import Figure, arguments, ratios, report, seconds
from lightning_nas.data import ImageSet, TrainingLoader
from lightning_nas.data.augment import Augmentation

PADDING = 4


class PILImages(Dataset[tuple[Tensor, int]]):
    """Images in memory, transformed one at a time, as torchvision's CIFAR10 keeps them."""

    def __init__(self, images: ImageSet, pixels: Tensor) -> None:
        size = images.image_size
        self.pixels = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(size, padding=PADDING),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((images.mean / 255).tolist(), (images.std / 255).tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def synthetic(num_images: int) -> tuple[ImageSet, Tensor]:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (num_images, 3, 32, 32), dtype=torch.uint8, generator=rng)
    labels = torch.randint(10, (num_images,), generator=rng)
    augmentation = Augmentation(padding=PADDING, flip=True)
    return ImageSet(pixels, labels, torch.full((3,), 127.5), torch.full((3,), 73.9), augmentation), pixels


def take(loader: Iterable[object], batches: int) -> Callable[[], None]:
    def run() -> None:
        for _ in islice(loader, batches):
            pass

    return run


def measure(batch_size: int, batches: int, rounds: int) -> list[Figure]:
    images, pixels = synthetic(num_images=10_000)
    resident = TrainingLoader(images, batch_size, seed=0)
    pil = DataLoader(PILImages(images, pixels), batch_size, shuffle=True, drop_last=True)
    taken = seconds({"resident": take(resident, batches), "PIL": take(pil, batches)}, rounds)
    speed = {side: [batch_size * batches / value for value in values] for side, values in taken.items()}
    where = f"32x32, batches of {batch_size}"
    return [
        Figure(f"{where}: speed-up of TrainingLoader", ratios(taken["PIL"], taken["resident"]), "x"),
        Figure(f"{where}: TrainingLoader", speed["resident"], "images/s"),
        Figure(f"{where}: DataLoader over PIL images", speed["PIL"], "images/s"),
    ]


def main() -> None:
    options = arguments(__doc__)
    sizes = (64,) if options.quick else (64, 256)
    total, rounds = (1024, 3) if options.quick else (4096, 11)
    report([figure for size in sizes for figure in measure(size, total // size, rounds)], options.json)


if __name__ == "__main__":
    main()
