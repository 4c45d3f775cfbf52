"""Datasets: images in memory, served in reproducible batches."""

from lightning_nas.data.base import ImageDataModule, RawSplits, ResidentDataModule, stratified_order
from lightning_nas.data.digits import DigitsDataModule
from lightning_nas.data.image_folder import ImageFolderDataModule
from lightning_nas.data.order import EpochOrder, OrderSampler, UniformOrder, ffcv_order
from lightning_nas.data.resident import Batch, EvaluationLoader, ImageSet, ResidentLoader, TrainingBatch

__all__ = [
    "Batch",
    "DigitsDataModule",
    "EpochOrder",
    "EvaluationLoader",
    "ImageDataModule",
    "ImageFolderDataModule",
    "ImageSet",
    "OrderSampler",
    "RawSplits",
    "ResidentDataModule",
    "ResidentLoader",
    "TrainingBatch",
    "UniformOrder",
    "ffcv_order",
    "stratified_order",
]
