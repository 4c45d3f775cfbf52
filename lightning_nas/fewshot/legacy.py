"""Three metrics as the released code of Ly-Manson et al. computes them, which do not measure what they are named after.

They are here to reproduce the published splits of NAS-Bench-201; ``docs/few-shot.md`` says why they degenerate.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lightning_nas.errors import NASError
from lightning_nas.fewshot.metrics import Fork, SimilarityMetric, Subject, count_weights
from lightning_nas.fewshot.mixture import Mixture
from lightning_nas.spaces.base import Choices
from lightning_nas.zeroshot import LinearRegions
from lightning_nas.zeroshot.base import scored_weights

IMAGES = 16


@dataclass(frozen=True)
class LegacyS4(SimilarityMetric):
    """A metric with the mistakes of the released code.

    Attributes:
        of: ``params``: counts the weights as if all decisions had the choices of the first. ``linear_regions``: on 16
            images, which every sub-supernet of usual width tells apart. ``synflow``: in single precision and with
            batch-norm, where it overflows.
    """

    of: Literal["params", "linear_regions", "synflow"]
    of_equals = 0.0

    def compare(self, subject: Subject, fork: Fork) -> tuple[NDArray[np.float64], list[float]]:
        """Negative differences, among which may be NaN: comparisons with it are false, and the first cut is taken.

        Raises:
            NASError: The decisions have different choices, or the supernet runs no mixtures.
        """
        values = [self._value(subject, fork.with_only(option)) for option in fork.options]
        with np.errstate(invalid="ignore"):
            return -np.abs(np.subtract.outer(values, values)), values

    def _value(self, subject: Subject, choices: Choices) -> float:
        if self.of == "params":
            return _count_by_first_decision(subject, choices)
        network = Mixture(subject.supernet, choices)
        if self.of == "linear_regions":
            [(images, labels)] = subject.batches(1, IMAGES)
            return LinearRegions()(network, images, labels)
        return _single_precision_synflow(network, subject)


def _count_by_first_decision(subject: Subject, choices: Choices) -> float:
    """The weights, counted by a loop over the decisions that never moves on."""
    if len(set(subject.space.num_choices)) > 1:
        raise NASError("LegacyS4 of 'params' needs the same number of choices at every decision")
    return float(count_weights(subject.supernet, (choices[0],) * len(choices)))


def _single_precision_synflow(network: Mixture, subject: Subject) -> float:
    """Synaptic flow of weights drawn as in the released code, with batch-norm; NaN or infinite where it overflows."""
    [(images, _)] = subject.batches(1, 1)
    positive = copy.deepcopy(network).eval()
    drawn = torch.Generator(images.device).manual_seed(0)
    with torch.no_grad():
        for module in positive.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=drawn)
        for tensor in positive.parameters():
            tensor.abs_()
    weights = scored_weights(positive)
    with torch.enable_grad():
        flow = positive(torch.ones_like(images)).sum()
        flows = torch.autograd.grad(flow, weights, allow_unused=True, materialize_grads=True)
    return float(sum((weight.detach() * one).abs().sum() for weight, one in zip(weights, flows, strict=True)))
