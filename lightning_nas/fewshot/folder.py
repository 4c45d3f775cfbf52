"""A split as files: ``tree.json``, and for every leaf a configuration that names its space."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_nas.errors import NASError
from lightning_nas.fewshot.tree import Node
from lightning_nas.files import written_whole
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces import RestrictedSpace, SearchSpace

TREE = "tree.json"


@dataclass(frozen=True)
class Leaves:
    """The parts of a space that have supernets of their own.

    Attributes:
        space: The whole.
        parts: Disjoint, and together all of its paths.
    """

    space: SearchSpace
    parts: tuple[SearchSpace, ...]

    def of(self, path: Architecture) -> int:
        """The number of the leaf that has a path.

        Raises:
            NASError: The path does not belong to the space.
        """
        self.space.require(path)
        return next(number for number, part in enumerate(self.parts) if part.is_valid(path))

    def folder(self, root: Path, leaf: int) -> Path:
        """The run directory of a leaf."""
        return root / f"leaf-{leaf}"


def require_free(folder: Path) -> None:
    """Refuses to replace a split.

    Raises:
        NASError: There is one.
    """
    if (folder / TREE).exists():
        raise NASError(f"{folder} already holds a split: choose another out, or remove {folder / TREE}")


def write(root: Node, settings: Mapping[str, Any], folder: Path) -> None:
    """Writes ``leaf-0.yaml`` and so on, each with the key ``model.space``, and then ``tree.json``.

    Args:
        root: The tree.
        settings: How it was made, in plain types.
        folder: Where to.
    """
    for number, leaf in enumerate(root.leaves):
        with written_whole(folder / f"leaf-{number}.yaml") as temporary:
            temporary.write_text(yaml.safe_dump({"model": {"space": leaf.space.describe()}}, sort_keys=False))
    numbers = {leaf.space: number for number, leaf in enumerate(root.leaves)}
    tree = {**settings, "space": root.space.describe(), "tree": _plain(root, numbers)}
    with written_whole(folder / TREE) as temporary:
        temporary.write_text(json.dumps(tree, indent=2) + "\n")


def read(folder: Path, space: SearchSpace) -> Leaves:
    """The leaves of a split.

    Args:
        folder: Where ``split`` wrote it.
        space: The space of which it is to be a split.

    Raises:
        NASError: There is no split, it is damaged, or of another space.
    """
    file = folder / TREE
    if not file.is_file():
        raise NASError(f"tree is {str(folder)!r}, but there is no {file}: lightning-nas split writes one")
    try:
        found = json.loads(file.read_text())
        split = SearchSpace.from_description(found["space"])
        allowed = list(_allowed(found["tree"]))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise NASError(f"{file} is damaged: {error!r}") from error
    if split.adapt(space.num_classes, space.in_channels, space.image_size) != _as_restriction(space):
        raise NASError(f"{file} is a split of {split}, but model.space is {space}")
    whole = space.space if isinstance(space, RestrictedSpace) else space
    return Leaves(space, tuple(RestrictedSpace(whole, kept) for kept in allowed))


def _as_restriction(space: SearchSpace) -> RestrictedSpace:
    return space if isinstance(space, RestrictedSpace) else RestrictedSpace(space, space.choices)


def _allowed(node: Mapping[str, Any]) -> Any:
    if "children" not in node:
        yield node["allowed"]
    for child in node.get("children", ()):
        yield from _allowed(child)


def _plain(node: Node, numbers: Mapping[SearchSpace, int]) -> dict[str, Any]:
    """A node in plain types, in which a number that is not finite is null."""
    size = {"size": node.space.size}
    if node.division is None:
        return {"leaf": numbers[node.space], **size, "allowed": [list(kept) for kept in node.space.choices]}
    division = {key: _finite(value) for key, value in node.division._asdict().items() if value is not None}
    children = [_plain(child, numbers) for child in node.children]
    return {"decision": node.decision, **size, **division, "children": children}


def _finite(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
