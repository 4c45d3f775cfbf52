"""Datasets: images in memory, served in reproducible batches."""

from lightning_nas.data.base import ImageDataModule, RawSplits, ResidentDataModule, stratified_order
from lightning_nas.data.digits import DigitsDataModule
from lightning_nas.data.image_folder import ImageFolderDataModule
from lightning_nas.data.resident import Batch, EvaluationLoader, ImageSet, ResidentLoader

__all__ = [
    "Batch",
    "DigitsDataModule",
    "EvaluationLoader",
    "ImageDataModule",
    "ImageFolderDataModule",
    "ImageSet",
    "RawSplits",
    "ResidentDataModule",
    "ResidentLoader",
    "stratified_order",
]
