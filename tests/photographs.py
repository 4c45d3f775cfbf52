"""Small photographs of many sizes, and their conversion, for tests of data modules."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lightning_nas.commands import convert

CLASSES = ("bird", "cat", "dog")


def photograph(*seed: int) -> Image.Image:
    """A smooth picture, 12 to 30 pixels high and wide."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(12, 31, 2))
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def write(root: Path, train: int = 20, test: int = 8, suffix: str = ".png") -> Path:
    """Writes as many images per class into ``train`` and ``val``; ``.png`` keeps pixels exactly."""
    for number, (split, images) in enumerate((("train", train), ("val", test))):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for image in range(images):
                photograph(number, label, image).save(folder / f"{image:02}{suffix}")
    return root


def converted(root: Path, **options: Any) -> Path:
    """Writes photographs and converts them."""
    arguments: dict[str, Any] = {"mode": "raw", "val_fraction": 0.25} | options
    convert(data=write(root / "photographs"), out=root / "converted", **arguments)
    return root / "converted"
