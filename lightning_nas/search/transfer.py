"""Supernets for other data than they were trained on."""

from pathlib import Path

import torch

from lightning_nas import checkpoint
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.spaces import SearchSpace

DATA = ("num_classes", "image_size")
"""What may differ."""


def load_transferred(module: SupernetModule, ckpt_path: str | None) -> None:
    """Gives a supernet all weights of a checkpoint but those of the classifier, which stay freshly initialised.

    Zhang et al., Boosting Order-Preserving and Transferability for Neural Architecture Search (CVPR 2024), Sec. 3.4: so
    a supernet searches on data on which it was not trained, and shifting trains the classifier meanwhile.

    Args:
        module: The supernet for the new data.
        ckpt_path: Of the same space, but for the number of classes and the size of images.

    Raises:
        NASError: There is no checkpoint, or it is one of another space.
    """
    if ckpt_path is None:
        raise NASError(
            "transfer needs the checkpoint of a supernet that was trained on other data: --ckpt_path"
        )
    trained = checkpoint.load_supernet(Path(ckpt_path))
    facts = {name: getattr(module.space, name) for name in DATA}
    if trained.space.adapt(**facts) != module.space:
        raise NASError(
            f"ckpt_path {ckpt_path!r} holds {trained.space}, but the space here is {module.space}: only the number of "
            "classes and the size of images may differ"
        )
    fresh = head(module.space)
    weights = {name: value for name, value in trained.state_dict().items() if name not in fresh}
    module.supernet.load_state_dict(weights, strict=False)


def head(space: SearchSpace) -> set[str]:
    """Names of the weights of a supernet that depend on the number of classes: those of its classifier."""
    with torch.device("meta"):
        one, other = (
            space.adapt(num_classes=classes).build_supernet().state_dict()
            for classes in (space.num_classes, space.num_classes + 1)
        )
    return {name for name in one if one[name].shape != other[name].shape}
