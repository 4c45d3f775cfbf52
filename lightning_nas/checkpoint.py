"""Checkpoints that describe their search space in plain types, and are refused by name where they do not fit."""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from lightning import LightningModule
from torch import nn

from lightning_nas.errors import NASError
from lightning_nas.spaces import NormPolicy, SearchSpace, Supernet
from lightning_nas.spaces import Path as Architecture

KEY = "lightning_nas"
FORMAT = 1

CONTINUES = ("callbacks", "epoch", "global_step", "loops", "lr_schedulers", "optimizer_states")
"""What a training continues from, beside the weights."""

Module = TypeVar("Module", bound=LightningModule)


def describe(checkpoint: dict[str, Any], space: SearchSpace, norm: NormPolicy, **facts: Any) -> None:
    """Adds to a checkpoint what later verbs need to rebuild the supernet, or the network of one architecture.

    Args:
        checkpoint: What Lightning is about to save.
        space: The space of the supernet, with the data that it was built for.
        norm: Batch-norm of the supernet.
        facts: More of plain types: ``classes``, and of a network alone its architecture as ``arch``.
    """
    checkpoint[KEY] = {"format": FORMAT, "space": space.describe(), "norm": vars(norm).copy(), **facts}


def require(checkpoint: dict[str, Any], space: SearchSpace, norm: NormPolicy) -> dict[str, Any]:
    """What ``describe`` wrote, if it fits.

    Raises:
        NASError: The checkpoint is not of lightning_nas, or of another space, other data or batch-norm.
    """
    found = _description(checkpoint, "the checkpoint")
    if "arch" in found:
        raise NASError(f"the checkpoint holds the network of {found['arch']} alone, not a supernet")
    _require_space(found, space)
    for key, value in vars(norm).items():
        if found["norm"][key] != value:
            raise NASError(
                f"the checkpoint was trained with norm.{key} {found['norm'][key]}, but model.norm.{key} is {value}"
            )
    return found


def drop_alphas(checkpoint: dict[str, Any]) -> None:
    """Leaves the supernet alone of what ``learn`` saved, for those who score its weights.

    Args:
        checkpoint: What was read.
    """
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {name: value for name, value in state.items() if name.startswith("supernet.")}


def require_network(checkpoint: dict[str, Any], space: SearchSpace, arch: str) -> dict[str, Any]:
    """What ``describe`` wrote of one architecture, if it is the one wanted.

    Args:
        checkpoint: What was read.
        space: The space of the architecture, with the data that it is built for.
        arch: The architecture in the notation of the space.

    Raises:
        NASError: The checkpoint is not of lightning_nas, or of a supernet, another space, other data or another
            architecture.
    """
    found = _description(checkpoint, "the checkpoint")
    if "arch" not in found:
        raise NASError("the checkpoint holds a supernet, not the network of one architecture")
    _require_space(found, space)
    if found["arch"] != arch:
        raise NASError(f"the checkpoint holds the network of {found['arch']}, but arch is {arch}")
    return found


def _require_space(found: dict[str, Any], space: SearchSpace) -> None:
    wanted = space.describe()
    if found["space"]["class_path"] != wanted["class_path"]:
        raise NASError(
            f"the checkpoint holds the space {found['space']['class_path']}, but model.space is "
            f"{wanted['class_path']}"
        )
    for key, value in wanted["init_args"].items():
        if found["space"]["init_args"].get(key) != value:
            raise NASError(
                f"the checkpoint was trained with {key} {found['space']['init_args'].get(key)}, but model.space "
                f"has {key} {value}"
            )


def require_classes(trained: Sequence[str], given: Sequence[str]) -> None:
    """Refuses data whose labels mean something else.

    Args:
        trained: Names of the classes that a checkpoint was trained on, in the order of their labels.
        given: Those of the data.

    Raises:
        NASError: They differ.
    """
    for label, (before, now) in enumerate(zip(trained, given, strict=False)):
        if before != now:
            raise NASError(
                f"the checkpoint was trained on data whose class {label} is {before!r}, but class {label} of data is "
                f"{now!r}"
            )
    if len(trained) != len(given):
        raise NASError(
            f"the checkpoint was trained on data of {len(trained)} classes, but data has {len(given)}"
        )


def last(root: Path) -> Path:
    """The checkpoint that continues the run in ``root``.

    Raises:
        NASError: There is none.
    """
    path = root / "last.ckpt"
    if not path.is_file():
        raise NASError(f"ckpt_path is 'last', but there is no {path}: set trainer.default_root_dir to a run")
    return path


def read(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without running any code that it may contain.

    Every byte is compared with the checksums in the file, which torch does not do (0.7 s for a gigabyte).

    Raises:
        NASError: The file is missing, damaged, not of lightning_nas, or holds more than tensors and plain types. Where the
            newest whole checkpoint beside it can be continued, it is named.
    """
    if not path.is_file():
        raise NASError(f"ckpt_path is {str(path)!r}, but there is no such file")
    try:
        return _read(path)
    except NASError as error:
        raise NASError(f"ckpt_path {str(path)!r} {error}{_another(path)}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    # Damaged bytes can be anything to zip, pickle and torch, and each has errors of its own for them.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise NASError(f"is damaged or no checkpoint: {reason}") from error
    if broken is not None:
        raise NASError(f"is damaged: the checksum of {broken} in it is another")
    if not isinstance(loaded, dict):
        raise NASError(f"holds a {type(loaded).__name__}, not a checkpoint")
    if KEY not in loaded:
        raise NASError("was not written by lightning_nas: it describes no search space")
    if "state_dict" not in loaded:
        raise NASError("is damaged: it lacks state_dict")
    return loaded


def _another(path: Path) -> str:
    """The end of a sentence that names the newest checkpoint in the folder of a damaged one from which a run continues."""
    others = [other for other in path.parent.glob("*.ckpt") if other.is_file() and other.name != path.name]
    for other in sorted(others, key=lambda file: file.stat().st_mtime, reverse=True):
        with suppress(NASError):
            if _read(other).keys() >= set(CONTINUES):
                return f"; the newest whole one beside it is {str(other)!r}"
    return ""


def require_continued(loaded: dict[str, Any]) -> None:
    """Refuses to continue a training from a checkpoint that holds only a part of it.

    Args:
        loaded: What was read.

    Raises:
        NASError: Something is missing.
    """
    missing = [key for key in CONTINUES if key not in loaded]
    if missing:
        raise NASError(
            f"the checkpoint holds weights alone, such as an ensemble, and not {', '.join(missing)}: it can be scored, not "
            "continued"
        )


def named(load: Callable[[Module, dict[str, Any]], None]) -> Callable[[Module, dict[str, Any]], None]:
    """Lets ``on_load_checkpoint`` of a module name the file that it refuses, and refuse one whose weights do not fit.

    Args:
        load: The method.
    """

    @wraps(load)
    def on_load_checkpoint(module: Module, loaded: dict[str, Any]) -> None:
        try:
            load(module, loaded)
            _require_weights(loaded["state_dict"], module.state_dict())
        except NASError as error:
            path = None if module._trainer is None else module.trainer.ckpt_path
            raise NASError(str(error) if path is None else f"ckpt_path {str(path)!r}: {error}") from error

    return on_load_checkpoint


def _require_weights(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found or name not in wanted:
            raise NASError(f"the checkpoint {'holds' if name in found else 'lacks'} the weights {name}")
        if found[name].shape != wanted[name].shape:
            raise NASError(
                f"the checkpoint has weights {name} of shape {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
            )


def load_supernet(path: Path) -> Supernet:
    """The supernet of a checkpoint with its trained weights; the checkpoint is all that is needed.

    Raises:
        NASError: The file is missing, damaged or not the checkpoint of a supernet.
    """
    loaded = read(path)
    found = _facts(loaded, path)
    if found.arch is not None:
        raise NASError(f"ckpt_path {str(path)!r} holds the network of {found.arch} alone, not a supernet")
    supernet = found.space.build_supernet(norm=found.norm)
    supernet.load_state_dict(_weights(loaded, "supernet."))
    return supernet


def load_weights(supernet: Supernet, space: SearchSpace, path: Path) -> None:
    """Gives a supernet the trained weights of another one of the same space.

    Args:
        supernet: Takes them.
        space: The space that the other one has to be of.
        path: Its checkpoint.

    Raises:
        NASError: The file is missing or damaged, or not the checkpoint of a supernet of that space with the same
            batch-norm.
    """
    loaded = read(path)
    require(loaded, space, supernet.norm)
    supernet.load_state_dict(_weights(loaded, "supernet."))


@dataclass(frozen=True)
class Network:
    """An architecture that was trained alone.

    Attributes:
        space: The space that it is from, with the data that it was built for.
        path: The architecture.
        module: Maps images (N x C x H x W) to logits (N x classes); in training mode.
        classes: What the labels mean; None where the data did not say so.
    """

    space: SearchSpace
    path: Architecture
    module: nn.Module
    classes: tuple[str, ...] | None


def load_network(path: Path) -> Network:
    """The network of a checkpoint of ``retrain`` with its trained weights; the checkpoint is all that is needed.

    Raises:
        NASError: The file is missing, damaged or not the checkpoint of one architecture.
    """
    loaded = read(path)
    found = _facts(loaded, path)
    if found.arch is None:
        raise NASError(f"ckpt_path {str(path)!r} holds a supernet, not the network of one architecture")
    architecture = found.space.decode(found.arch)
    module = found.space.build_standalone(architecture, norm=found.norm)
    module.load_state_dict(_weights(loaded, "network."))
    return Network(found.space, architecture, module, found.classes)


def holds_network(path: Path) -> bool:
    """Whether a checkpoint is that of one architecture, and not of a supernet.

    Raises:
        NASError: The file is missing, damaged or not a checkpoint of lightning_nas.
    """
    return facts(path).arch is not None


def digest(module: nn.Module) -> str:
    """A fingerprint of weights and buffers: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


class Facts(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
        space: Whose paths were trained, with the data that it was built for.
        norm: Batch-norm of the supernet or network.
        arch: The architecture of a network alone; None where a supernet is held.
        classes: What the labels mean; None where the data did not say so.
    """

    space: SearchSpace
    norm: NormPolicy
    arch: str | None
    classes: tuple[str, ...] | None


def facts(path: Path) -> Facts:
    """What a checkpoint says of itself, without its weights.

    Raises:
        NASError: The file is missing, damaged or not a checkpoint of lightning_nas.
    """
    return _facts(read(path), path)


def _facts(loaded: dict[str, Any], path: Path) -> Facts:
    found = _description(loaded, f"ckpt_path {str(path)!r}")
    classes = found.get("classes")
    return Facts(
        SearchSpace.from_description(found["space"]),
        NormPolicy(**found["norm"]),
        found.get("arch"),
        None if classes is None else tuple(classes),
    )


def _description(loaded: dict[str, Any], name: str) -> dict[str, Any]:
    if KEY not in loaded:
        raise NASError(f"{name} was not written by lightning_nas: it describes no search space")
    found: dict[str, Any] = loaded[KEY]
    if found["format"] != FORMAT:
        raise NASError(f"{name} has format {found['format']}: this version reads format {FORMAT}")
    return found


def _weights(loaded: dict[str, Any], prefix: str) -> dict[str, torch.Tensor]:
    state = loaded["state_dict"]
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
