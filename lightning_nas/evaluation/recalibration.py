"""Batch-norm statistics of single paths.

Running statistics of a supernet mix those of all paths that were trained. So every path is scored with
statistics of its own, measured on training images (Guo et al., Single Path One-Shot NAS, ECCV 2020, Sec. 3.4).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_nas.errors import NASError
from lightning_nas.spaces import Path, Supernet


@torch.no_grad()
def measure(layers: Sequence[_BatchNorm], run: Callable[[Tensor], object], batches: Sequence[Tensor]) -> None:
    """Sets the running statistics of layers to those of some images: the plain mean of those of the batches.

    A cumulative average; the released code of SPOS averages exponentially over 200 batches, that of Once-for-All takes
    the plain mean too.

    Args:
        layers: With running statistics; in evaluation mode afterwards.
        run: Runs the network that has them, in evaluation mode otherwise, on images.
        batches: Normalised images (N x C x H x W), at least one batch.
    """
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative average
        layer.training = True
    for images in batches:
        run(images)
    for layer in layers:
        layer.training = False


class Calibration:
    """Measures the batch-norm statistics of paths, and lends them to the supernet.

    Args:
        supernet: With running statistics.
        batches: Normalised images (N x C x H x W) of the training split, not augmented.

    Raises:
        NASError: The supernet keeps no running statistics, or there are no images.
    """

    def __init__(self, supernet: Supernet, batches: Sequence[Tensor]) -> None:
        self._layers = [
            module
            for module in supernet.modules()
            if isinstance(module, _BatchNorm) and module.track_running_stats
        ]
        if not self._layers:
            raise NASError(
                "ranking.recalibrate needs batch-norm with running statistics (model.norm.running_stats true): "
                "this supernet uses those of the batch"
            )
        if not batches:
            raise NASError("ranking.recalibrate needs at least one batch of training images")
        self._supernet = supernet
        self._batches = batches
        self._statistics: dict[Path, list[tuple[int, Tensor, Tensor]]] = {}

    @contextmanager
    def of(self, path: Path) -> Iterator[None]:
        """While it is open, batch-norm has the statistics of ``path``; then everything is as before."""
        before = [_state(layer) for layer in self._layers]
        try:
            if path not in self._statistics:
                self._statistics[path] = self._measure(path)
            for number, mean, variance in self._statistics[path]:
                _set(self._layers[number], mean, variance)
            yield
        finally:
            for layer, (mean, variance, count, momentum, training) in zip(self._layers, before, strict=True):
                _set(layer, mean, variance)
                layer.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
                layer.momentum = momentum
                layer.training = training

    def _measure(self, path: Path) -> list[tuple[int, Tensor, Tensor]]:
        """For every layer that the path uses, its number, mean and variance."""
        measure(self._layers, lambda images: self._supernet(images, path), self._batches)
        return [
            (number, *(statistic.clone() for statistic in _state(layer)[:2]))  # type: ignore[misc]
            for number, layer in enumerate(self._layers)
            if layer.num_batches_tracked
        ]


def _state(layer: _BatchNorm) -> tuple[Tensor, Tensor, Tensor, float | None, bool]:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    tensors = (layer.running_mean, layer.running_var, layer.num_batches_tracked)
    mean, variance, count = (tensor.clone() for tensor in tensors)
    return mean, variance, count, layer.momentum, layer.training


def _set(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    layer.running_mean.copy_(mean)  # type: ignore[union-attr]
    layer.running_var.copy_(variance)  # type: ignore[union-attr]
