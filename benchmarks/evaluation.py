"""Scores all 36 paths of the Pooling space: common beginnings run once, against every path from its start."""

from functools import partial

import torch
from torch import Tensor

from benchmarks.measure import Figure, arguments, ratios, report, seconds
from lightning_nas.spaces import Path, Pooling, Supernet
from lightning_nas.spaces.operations import BasicBlock

SHARED, SINGLE = "shared prefixes", "one by one"


def shared_prefixes(supernet: Supernet, images: Tensor, paths: tuple[Path, ...]) -> list[Tensor]:
    logits = dict(supernet.forward_each(images, paths))
    return [logits[position] for position in range(len(paths))]


def one_by_one(supernet: Supernet, images: Tensor, paths: tuple[Path, ...]) -> list[Tensor]:
    return [supernet(images, path) for path in paths]


def count_blocks(supernet: Supernet, images: Tensor, paths: tuple[Path, ...]) -> tuple[int, int]:
    """Residual blocks that each side runs; checks on the way that both give the same logits."""
    ran: list[str] = []
    blocks = (module for module in supernet.modules() if isinstance(module, BasicBlock))
    handles = [block.register_forward_hook(lambda *_: ran.append("block")) for block in blocks]
    shared = shared_prefixes(supernet, images, paths)
    count = len(ran)
    single = one_by_one(supernet, images, paths)
    for handle in handles:
        handle.remove()
    assert all(map(torch.equal, shared, single)), "shared prefixes change the logits"
    return count, len(ran) - count


@torch.no_grad()
def measure(num_images: int, rounds: int) -> list[Figure]:
    torch.manual_seed(0)
    space = Pooling(channels=(8, 16, 32))
    supernet, paths = space.build_supernet().eval(), tuple(space)
    images = torch.randn(num_images, space.in_channels, space.image_size, space.image_size)
    counts = count_blocks(supernet, images, paths)
    sides = {
        SHARED: partial(shared_prefixes, supernet, images, paths),
        SINGLE: partial(one_by_one, supernet, images, paths),
    }
    taken = seconds(sides, rounds)
    speed = {side: [num_images * len(paths) / value for value in values] for side, values in taken.items()}
    where = f"Pooling, {num_images} images"
    return [
        Figure(f"{where}: speed-up by {SHARED}", ratios(taken[SINGLE], taken[SHARED]), "x"),
        Figure(f"{where}: images x paths, {SHARED}", speed[SHARED], "1/s"),
        Figure(f"{where}: images x paths, {SINGLE}", speed[SINGLE], "1/s"),
        Figure(f"Pooling: blocks run, {SHARED}", [counts[0]], "blocks"),
        Figure(f"Pooling: blocks run, {SINGLE}", [counts[1]], "blocks"),
    ]


def main() -> None:
    options = arguments(__doc__)
    report(measure(50, rounds=3) if options.quick else measure(250, rounds=9), options.json)


if __name__ == "__main__":
    main()
