"""Datasets, served in reproducible batches."""

from lightning_nas.data.base import ImageDataModule, Splits, classes_of, stratified_order
from lightning_nas.data.cifar import CIFARDataModule
from lightning_nas.data.digits import DigitsDataModule
from lightning_nas.data.ffcv import FFCVDataModule
from lightning_nas.data.image_folder import ImageFolderDataModule
from lightning_nas.data.imagenet import ImageNetDataModule
from lightning_nas.data.imagenet16 import ImageNet16DataModule
from lightning_nas.data.loader import EvaluationLoader, TrainingBatch, TrainingLoader
from lightning_nas.data.noise import NoiseDataModule
from lightning_nas.data.order import BalancedOrder, EpochOrder, QuasiRandomOrder, UniformOrder
from lightning_nas.data.resident import ImageSet, RawSplits, ResidentDataModule
from lightning_nas.data.source import Batch, ImageSource

__all__ = [
    "BalancedOrder",
    "Batch",
    "CIFARDataModule",
    "DigitsDataModule",
    "EpochOrder",
    "EvaluationLoader",
    "FFCVDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "ImageNet16DataModule",
    "ImageNetDataModule",
    "ImageSet",
    "ImageSource",
    "NoiseDataModule",
    "QuasiRandomOrder",
    "RawSplits",
    "ResidentDataModule",
    "Splits",
    "TrainingBatch",
    "TrainingLoader",
    "UniformOrder",
    "classes_of",
    "stratified_order",
]
