"""A split for people: the figure of its tree, and the ground truth of its leaves."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_nas import plots
from lightning_nas.fewshot.tree import Node
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces import SearchSpace

TOP = 0.01
"""The share of all paths that counts as the best."""


def report(root: Node, title: str, truth: Mapping[Architecture, float], folder: Path) -> None:
    """Writes ``tree.png`` and ``leaves.csv``; with ground truth it is in both, and ``ground_truth.png`` shows more.

    Args:
        root: The tree.
        title: What it was split by.
        truth: Ground truth in percent of all or some paths; may be empty.
        folder: Where to.
    """
    leaves = [leaf.space for leaf in root.leaves]
    table: dict[str, list[object]] = {
        "leaf": list(range(len(leaves))),
        "paths": [leaf.size for leaf in leaves],
        "choices": [_kept(leaf, root.space) for leaf in leaves],
    }
    texts = [f"leaf {number}: {leaf.size:,} paths" for number, leaf in enumerate(leaves)]
    if truth:
        truths = _truth_of(leaves, truth)
        everything = np.concatenate(truths)
        threshold = np.sort(everything)[-max(1, int(TOP * len(everything)))]
        table["best"] = [_rounded(found.max()) if len(found) else "" for found in truths]
        table["mean"] = [_rounded(found.mean()) if len(found) else "" for found in truths]
        table["of the best 1 %"] = [int((found >= threshold).sum()) for found in truths]
        texts = [
            f"{text}, best {best:.2f} %, {top} of the best 1 %" if best else text
            for text, best, top in zip(texts, table["best"], table["of the best 1 %"], strict=True)
        ]
        if all(len(found) for found in truths):
            figure = plots.truth_of_leaves(truths, float(everything.max()))
            plots.save(figure, folder / "ground_truth.png")
    plots.save(
        plots.split_tree(_branch(root, f"{root.space.size:,} paths", iter(texts)), title), folder / "tree.png"
    )
    plots.save_table(folder / "leaves.csv", table)


def _truth_of(leaves: list[SearchSpace], truth: Mapping[Architecture, float]) -> list[NDArray[np.float64]]:
    """For every leaf the ground truth that is known of its paths."""
    return [np.array([value for path, value in truth.items() if leaf.is_valid(path)]) for leaf in leaves]


def _rounded(value: float) -> float:
    return round(float(value), 2)


def _kept(leaf: SearchSpace, whole: SearchSpace) -> str:
    """The decisions at which a leaf has fewer choices, and which."""
    return "; ".join(
        f"{decision}: {_choice_text(leaf, decision, kept)}"
        for decision, (kept, known) in enumerate(zip(leaf.choices, whole.choices, strict=True))
        if kept != known
    )


def _choice_text(space: SearchSpace, decision: int, choices: tuple[int, ...]) -> str:
    """What some choices of a decision are called."""
    names = space.choice_names[decision]
    return ", ".join(str(choice) if names is None else names[choice] for choice in choices)


def _branch(node: Node, text: str, leaves: Iterator[str]) -> plots.Branch:
    """A node and what is below it, under the choices that were kept to come here."""
    if node.division is None or node.decision is None:
        return plots.Branch(text, (plots.Branch(next(leaves)),))
    texts = [
        f"{node.decision}: {_choice_text(node.space, node.decision, group)}" for group in node.division.groups
    ]
    pairs = zip(node.children, texts, strict=True)
    return plots.Branch(text, tuple(_branch(child, below, leaves) for child, below in pairs))
