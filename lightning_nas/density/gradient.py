"""Distances of gradients where paths share some of their weights and not others.

Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling, Sec. 3.2, 4.1.3 and Tab. 2:
layers that two paths do not share are at distance 1, and layers are averaged.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_nas.density.distance import unit_vectors
from lightning_nas.spaces import Path, Supernet

Choice = tuple[int, int]
"""A decision and a choice. What all paths share stands under the decision ``SHARED``."""

SHARED = -1

Blocks = dict[Choice, list[nn.Parameter]]
Rows = dict[int, NDArray[np.float64]]


@torch.enable_grad()
def path_gradient(
    supernet: Supernet, path: Path, images: Tensor, labels: Tensor, weights: Sequence[nn.Parameter]
) -> tuple[Tensor, ...]:
    """The gradient of the mean cross-entropy in ``weights``: zeros in those that the path does not use."""
    loss = F.cross_entropy(supernet(images, path), labels)
    # autograd.grad, unlike backward, leaves the gradients of the training step alone.
    return torch.autograd.grad(loss, list(weights), allow_unused=True, materialize_grads=True)


def owned_weights(supernet: Supernet) -> Blocks:
    """The weights of every choice, for the decisions whose choices own all that they hold.

    Where choices hold the same tensors or parts of them, as sizes do, these weights are shared.
    """
    held: Blocks = {}
    holders: Counter[nn.Parameter] = Counter()
    sharing: set[int] = set()
    for decision, number in enumerate(supernet.space.num_choices):
        for choice in range(number):
            parts = supernet.choice_parameters(decision, choice)
            held[decision, choice] = [part.parameter for part in parts]
            holders.update(held[decision, choice])
            if any(part.index is not ... for part in parts):
                sharing.add(decision)
    sharing |= {decision for (decision, _), block in held.items() if any(holders[p] > 1 for p in block)}
    return {choice: block for choice, block in held.items() if block and choice[0] not in sharing}


def shared_weights(supernet: Supernet, owned: Blocks) -> Blocks:
    """All other weights, in stretches between those of choices: usually the stem and the head."""
    of_choices = {parameter for block in owned.values() for parameter in block}
    stretches: list[list[nn.Parameter]] = [[]]
    for parameter in supernet.parameters():
        if parameter not in of_choices:
            stretches[-1].append(parameter)
        elif stretches[-1]:
            stretches.append([])
    return {(SHARED, number): stretch for number, stretch in enumerate(filter(None, stretches))}


def layer_mean_distances(
    supernet: Supernet, paths: Sequence[Path], images: Tensor, labels: Tensor
) -> NDArray[np.float64]:
    """Mean distance of every path to the others, where the distance of two is the mean over their layers.

    A layer is a decision whose choices own weights, or a stretch of shared weights. At a layer two paths are
    1 - cos(g_a, g_b) apart where they use the same weights, and 1 where they do not. A layer at which both
    have chosen the same operation without weights is left out of their mean. So with unit gradients y of the
    layers, M(a, b) of L layers left, and the layers l that a and b share::

        D(a, b) = 1 - sum_l y_a^l.y_b^l / M(a, b)
        sum_{b != a} D(a, b) = n - 1 - sum_l y_a^l . (sum_{b != a} y_b^l / M(a, b))

    M depends only on the choices without weights, so that the inner sums are the same for all paths that agree
    on these. No pair is looked at: a first pass over the paths adds up their gradients by those choices,
    and a second one takes the dot products. Every path is back-propagated twice, and what is held in memory are the
    sums.

    Args:
        supernet: Whose paths are compared.
        paths: At least two, all different.
        images: The probe, N x C x H x W.
        labels: Its classes, (N,).

    Returns:
        Distances in [0, 2], shape (P,).
    """
    owned = owned_weights(supernet)
    shared = shared_weights(supernet, owned)
    layers = {decision for decision, _ in owned}
    blocks = {**shared, **owned}

    def unit_gradients(path: Path) -> list[tuple[Choice, NDArray[np.float64]]]:
        used = [*shared, *(choice for choice in enumerate(path) if choice in owned)]
        weights = [parameter for block in used for parameter in blocks[block]]
        found = iter(path_gradient(supernet, path, images, labels, weights))
        flat = [torch.cat([next(found).flatten() for _ in blocks[block]]) for block in used]
        return [(block, unit_vectors(g.float().cpu().numpy())) for block, g in zip(used, flat, strict=True)]

    weightless = [
        frozenset(choice for choice in enumerate(path) if choice[0] in layers and choice not in owned)
        for path in paths
    ]
    patterns = {pattern: number for number, pattern in enumerate(dict.fromkeys(weightless))}
    numbers = [patterns[pattern] for pattern in weightless]
    left = _layers_left(list(patterns), len(shared) + len(layers))

    sums = defaultdict[Choice, Rows](dict)
    for path, number in zip(paths, numbers, strict=True):
        for block, y in unit_gradients(path):
            sums[block][number] = sums[block].get(number, 0.0) + y
    for of_block in sums.values():
        rows = list(of_block)
        mixed = np.stack(list(of_block.values()))
        mixed = (1 / left[np.ix_(rows, rows)]) @ mixed
        of_block.update(zip(rows, mixed, strict=True))

    similar = np.zeros(len(paths))
    for i, (path, number) in enumerate(zip(paths, numbers, strict=True)):
        for block, y in unit_gradients(path):
            similar[i] += y @ sums[block][number] - y @ y / left[number, number]
    others = len(paths) - 1
    return np.maximum((others - similar) / others, 0.0)


def _layers_left(patterns: Sequence[frozenset[Choice]], layers: int) -> NDArray[np.int64]:
    """The layers that two paths are compared on, for every two patterns of choices without weights."""
    columns = {choice: i for i, choice in enumerate(sorted(frozenset[Choice]().union(*patterns)))}
    taken = np.zeros((len(patterns), len(columns)), dtype=np.int64)
    for row, pattern in enumerate(patterns):
        taken[row, [columns[choice] for choice in pattern]] = 1
    return layers - taken @ taken.T
