"""Scores many paths of a supernet: the evaluator, which does no work twice, against one path at a time."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Figure, arguments, peak_megabytes, report, seconds, speedup
from lightning_nas.spaces import (
    ChainSupernet,
    NASBench201,
    NASBenchMacro,
    Path,
    Pooling,
    SearchSpace,
    Supernet,
)
from lightning_nas.spaces.nasbench201_graph import EDGES, NONE, live_edges
from lightning_nas.spaces.nasbench201_networks import NASBench201Supernet, SearchCell

Paths = Sequence[Path]


def evaluator(supernet: Supernet, images: Tensor, paths: Paths) -> None:
    for _ in supernet.forward_each(images, paths):
        pass


def one_by_one(supernet: Supernet, images: Tensor, paths: Paths) -> None:
    for path in paths:
        supernet(images, path)


def setting(space: SearchSpace, num_images: int) -> tuple[Supernet, Tensor]:
    torch.manual_seed(0)
    images = torch.randn(num_images, space.in_channels, space.image_size, space.image_size)
    return space.build_supernet().eval(), images


def bitwise_equal(supernet: Supernet, images: Tensor, paths: Paths) -> bool:
    """Whether the evaluator gives the logits of single paths, looked at for 200 of them."""
    some = set(np.random.default_rng(0).permutation(len(paths))[:200].tolist())
    return all(
        torch.equal(logits, supernet(images, paths[position]))
        for position, logits in supernet.forward_each(images, paths)
        if position in some
    )


def layer_evaluations(space: SearchSpace) -> int:
    """How often the evaluator runs a layer that paths choose, for all paths of a chain, on one image."""
    supernet, images = setting(space, 2)
    assert isinstance(supernet, ChainSupernet)
    depths: list[int] = []
    run_stage = supernet.run_stage

    def counting(depth: int, choice: Hashable, x: Any) -> Any:
        depths.append(depth)
        return run_stage(depth, choice, x)

    supernet.run_stage = counting  # type: ignore[method-assign]
    evaluator(supernet, images, list(space))
    # The first stage is the stem and the last one the head.
    return sum(0 < depth < max(depths) for depth in depths)


def chain(
    name: str, tiny: SearchSpace, spaces: dict[str, SearchSpace], num_images: int, rounds: int
) -> list[Figure]:
    """A space that can be scored completely: one by one all paths, or as many as some of them extrapolate to."""
    figures = [Figure(f"{name}.layer_evaluations", [layer_evaluations(tiny)], "layers")]
    for suffix, space in spaces.items():
        supernet, images = setting(space, num_images)
        paths = list(space)
        some = paths if len(paths) < 100 else [paths[i] for i in range(0, len(paths), len(paths) // 60)]
        taken = seconds(
            {
                "all": partial(evaluator, supernet, images, paths),
                "some": partial(one_by_one, supernet, images, some),
            },
            rounds,
        )
        single = [value * len(paths) / len(some) for value in taken["some"]]
        figures += [
            speedup(f"{name}{suffix}: all paths, one by one / evaluator", taken["all"], single, "s"),
            Figure(
                f"{name}.time_per_path{suffix}", [1e3 * value / len(paths) for value in taken["all"]], "ms"
            ),
            Figure(
                f"{name}.bitwise_equal{suffix}", [float(bitwise_equal(supernet, images, paths))], "1 is yes"
            ),
        ]
    return figures


def released_forward(supernet: NASBench201Supernet, images: Tensor, path: Path) -> Tensor:
    """A path as released codes run it: every edge, and those without operation multiplied by zero."""
    x = images
    for layer in supernet.layers:
        if isinstance(layer, SearchCell):
            nodes: list[Any] = [x, 0.0, 0.0, 0.0]
            for edge, (source, target) in enumerate(EDGES):
                y = nodes[source]
                nodes[target] = nodes[target] + (
                    y * 0 if path[edge] == NONE else layer.operation(edge, path[edge])(y)
                )
            x = nodes[-1]
        else:
            x = layer(x)
    return x


def timed(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def cells(
    name: str, space: NASBench201, num_images: int, number: int, rounds: int, fast: bool
) -> list[Figure]:
    """NAS-Bench-201: 15,625 paths as released against 9,445 forward classes, both extrapolated from a sample."""
    supernet, images = setting(space, num_images)
    assert isinstance(supernet, NASBench201Supernet)
    strided, pixels = setting(space, num_images)
    strided, pixels = (
        strided.to(memory_format=torch.channels_last),
        pixels.contiguous(memory_format=torch.channels_last),
    )
    other, laid_out = (strided, pixels) if fast else (supernet, images)
    everything = list(space)
    classes = list({live_edges(path): path for path in everything}.values())
    rng = np.random.default_rng(0)
    released, evaluated, layouts, same = [], [], [], []
    for _ in range(rounds):
        raw = [everything[i] for i in rng.choice(len(everything), number, replace=False)]
        kept = [classes[i] for i in rng.choice(len(classes), number, replace=False)]
        slow = timed(lambda raw=raw: [released_forward(supernet, images, path) for path in raw])  # type: ignore[misc]
        quick = timed(lambda kept=kept: evaluator(other, laid_out, kept))  # type: ignore[misc]
        plain = timed(lambda kept=kept: evaluator(supernet, images, kept))  # type: ignore[misc]
        last = timed(lambda kept=kept: evaluator(strided, pixels, kept))  # type: ignore[misc]
        layouts.append(plain / last)
        released.append(slow / number * len(everything))
        evaluated.append(quick / number * len(classes))
        for path in kept[:5]:
            answers = released_forward(supernet, images, path).argmax(1), other(laid_out, path).argmax(1)
            same.append(float((answers[0] == answers[1]).double().mean()))
    return [
        speedup(f"nasbench201.{name}: all cells, as released / evaluator", evaluated, released, "s"),
        Figure(f"nasbench201.{name}.contiguous / channels_last", layouts, "x"),
        Figure(f"nasbench201.{name}.equal_answers", [100 * float(np.mean(same))], "%"),
    ]


def forward_classes() -> int:
    """How many cells the evaluator runs to the end for all 15,625."""
    space = NASBench201(channels=1, cells=1, in_channels=1, image_size=4)
    supernet, images = setting(space, 2)
    assert isinstance(supernet, NASBench201Supernet)
    ran: list[None] = []
    supernet.layers[-1].register_forward_hook(lambda *_: ran.append(None))
    evaluator(supernet, images, list(space))
    return len(ran)


@torch.no_grad()
def measure(quick: bool) -> list[Figure]:
    images, rounds = (20, 2) if quick else (250, 5)
    tiny_macro = NASBenchMacro(channels=(1, 1, 1, 1), head_channels=1, in_channels=1, image_size=8)
    sizes = {"": 8} if quick else {"": 32, "_16x16": 16}
    macros: dict[str, SearchSpace] = {
        suffix: NASBenchMacro(channels=(8, 16, 32, 64), head_channels=320, image_size=size)
        for suffix, size in sizes.items()
    }
    poolings: dict[str, SearchSpace] = {"": Pooling(channels=(8, 16, 32))}
    if not quick:
        poolings["_full"] = Pooling()
    figures = chain(
        "pooling", Pooling(channels=(1, 1, 1), in_channels=1, image_size=4), poolings, images, rounds
    )
    figures += chain("macro", tiny_macro, macros, 2 if quick else 100, 1 if quick else 3)
    figures.append(Figure("nasbench201.forward_classes", [forward_classes()], "cells"))
    narrow = NASBench201(channels=4, cells=1, image_size=16)
    figures += cells("small", narrow, images, 20 if quick else 200, rounds, fast=False)
    wide = NASBench201(channels=8, cells=1) if quick else NASBench201()
    figures += cells("full", wide, images, 5 if quick else 10, rounds, fast=True)
    return [*figures, Figure("peak_memory_of_this_process", [peak_megabytes()], "MB")]


def main() -> None:
    options = arguments(__doc__)
    report(measure(options.quick), options)


if __name__ == "__main__":
    main()
