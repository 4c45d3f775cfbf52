"""Three metrics as the released code of Ly-Manson et al. computes them, which do not measure what they are named after.

They are here to reproduce the published splits of NAS-Bench-201; ``docs/few-shot.md`` says why they degenerate.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_nas.errors import NASError
from lightning_nas.fewshot.metrics import Fork, SimilarityMetric, Subject, count_weights
from lightning_nas.fewshot.mixture import Mixture
from lightning_nas.spaces.base import Choices
from lightning_nas.zeroshot import LinearRegions
from lightning_nas.zeroshot.base import left_alone, scored_weights

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
    """Synaptic flow, with batch-norm in evaluation mode; NaN or infinite where it overflows."""
    [(images, _)] = subject.batches(1, 1)
    with left_alone(network), torch.enable_grad():
        network.eval()
        signs = {weight: weight.detach().sign() for weight in network.parameters()}
        with torch.no_grad():
            for tensor in network.parameters():
                tensor.abs_()
        weights = scored_weights(network)
        flows = torch.autograd.grad(
            network(torch.ones_like(images)).sum(), weights, allow_unused=True, materialize_grads=True
        )
        flow = sum((weight.detach() * one).abs().sum() for weight, one in zip(weights, flows, strict=True))
        with torch.no_grad():
            for weight, sign in signs.items():
                weight.mul_(sign)
    return float(flow)
