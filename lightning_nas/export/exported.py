"""A network that can be shipped, and its description in plain types."""

import json
from dataclasses import dataclass
from typing import Any

from torch import nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import NormPolicy, SearchSpace
from lightning_nas.spaces import Path as Architecture

KEY = "lightning_nas"
"""Where a file of any format keeps the description, as JSON."""

FORMAT = 1
INPUT, OUTPUT = "images", "logits"


@dataclass(frozen=True)
class Normalisation:
    """How images become what a network takes: ``(pixels - mean) / std``.

    Attributes:
        data: The dataset that it is from.
        mean: Mean of every channel in pixel values, 0 to 255.
        std: Standard deviation of every channel in pixel values.
    """

    data: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def describe(self) -> dict[str, Any]:
        """The same in plain types."""
        return {"data": self.data, "mean": list(self.mean), "std": list(self.std)}

    @staticmethod
    def from_description(found: dict[str, Any]) -> "Normalisation":
        """What ``describe`` described."""
        return Normalisation(found["data"], tuple(found["mean"]), tuple(found["std"]))


@dataclass(frozen=True)
class Exported:
    """A network that is ready for use, and what its users must know.

    Attributes:
        space: Where its architecture is from, with the data that it was built for.
        path: The architecture.
        norm: How its batch-norm layers were built.
        network: Maps normalised images (N x C x H x W) to logits (N x classes), each image by itself; in evaluation
            mode.
        classes: What the labels mean; None where that is not known.
        normalisation: Of the images; None where that is not known.
    """

    space: SearchSpace
    path: Architecture
    norm: NormPolicy
    network: nn.Module
    classes: tuple[str, ...] | None
    normalisation: Normalisation | None

    def describe(self) -> dict[str, Any]:
        """All but the weights, in plain types; ``from_description`` reads it back."""
        return {
            "format": FORMAT,
            "space": self.space.describe(),
            "arch": self.space.encode(self.path),
            "norm": vars(self.norm).copy(),
            "input": {
                "name": INPUT,
                "shape": ["N", self.space.in_channels, self.space.image_size, self.space.image_size],
                "normalisation": None if self.normalisation is None else self.normalisation.describe(),
            },
            "output": {"name": OUTPUT, "shape": ["N", self.space.num_classes]},
            "classes": None if self.classes is None else list(self.classes),
        }

    def description(self) -> str:
        """What ``describe`` says, as JSON."""
        return json.dumps(self.describe(), indent=2) + "\n"

    @staticmethod
    def from_description(text: str, name: str) -> "Exported":
        """The network that ``description`` described, freshly initialised.

        Args:
            text: The JSON.
            name: What it was read from, for errors.

        Raises:
            NASError: The text has another format, or its space is unknown.
        """
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise NASError(f"{name} has format {found['format']}: this version reads format {FORMAT}")
        space, norm = SearchSpace.from_description(found["space"]), NormPolicy(**found["norm"])
        path, normalisation = space.decode(found["arch"]), found["input"]["normalisation"]
        return Exported(
            space,
            path,
            norm,
            space.build_standalone(path, norm=norm).eval(),
            None if found["classes"] is None else tuple(found["classes"]),
            None if normalisation is None else Normalisation.from_description(normalisation),
        )
