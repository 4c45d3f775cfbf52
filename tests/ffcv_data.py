"""Photographs in FFCV's format, as a data module, and what its images should be."""

from pathlib import Path
from typing import Any

import numpy as np
import photographs
import torch
from PIL import Image
from torch import Tensor

from lightning_nas.data import FFCVDataModule

SIZE = 8


def module(root: Path, **options: Any) -> FFCVDataModule:
    defaults = {"image_size": SIZE, "batch_size": 6, "eval_batch_size": 5, "seed": 3}
    return FFCVDataModule(root, **(defaults | options))


def images_of(root: Path, split: str) -> list[np.ndarray]:
    folder = root.parent / "photographs" / split
    return [
        np.asarray(Image.open(file))
        for name in photographs.CLASSES
        for file in sorted((folder / name).iterdir())
    ]


def normalised(pixels: np.ndarray, data: FFCVDataModule) -> Tensor:
    mean, std = (np.array(numbers, np.float32) for numbers in (data.manifest.mean, data.manifest.std))
    values = (pixels.astype(np.float32) - mean) / std
    return torch.from_numpy(values).permute(2, 0, 1)


def resized(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    import cv2  # comes with FFCV

    return cv2.resize(
        image[top : top + height, left : left + width], (SIZE, SIZE), interpolation=cv2.INTER_AREA
    )


def use(root: Path, **options: Any) -> None:
    data = module(root, **options)
    data.prepare_data()
    for split in data.splits:
        split.batch(torch.arange(len(split)))
