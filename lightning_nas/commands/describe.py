"""``lightning-nas describe``: what a search space and one of its architectures are."""

from pathlib import Path

from lightning_nas import architecture, plots
from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.spaces import ListedSpace, SearchSpace
from lightning_nas.spaces import Path as Architecture

FORMATS = (".png", ".svg", ".pdf")


def describe(
    *, space: SearchSpace, arch: str | None = None, benchmark: Path | None = None, out: Path | None = None
) -> None:
    """Print what a search space holds, and what an architecture of it costs; draw the architecture.

    Args:
        space: The search space, such as NASBench201; its arguments as --space.channels and so on.
        arch: An architecture in the notation of the space; without one only the space is described.
        benchmark: A table of ground truth (CSV), which says how accurate the architecture is.
        out: Where to draw it, .png, .svg or .pdf; runs/describe/<space>-<number>.png if not given.

    Raises:
        NASError: The architecture is not in the space or not in the table, or the format of the drawing is unknown.
    """
    lines = {
        "space": type(space).__name__,
        "paths": f"{space.size:,}" + (f" ({space.size:.3g})" if space.size >= 10**6 else ""),
        "decisions": f"{len(space.num_choices)} of {_range(space.num_choices)} choices",
        "example": space.encode(space[space.size // 2]),
    }
    if arch is not None:
        path = space.decode(arch)
        out = out or Path("runs") / "describe" / f"{type(space).__name__}-{space.index(path)}.png"
        if out.suffix not in FORMATS:
            raise NASError(f"out is {str(out)!r}: a drawing is one of {', '.join(FORMATS)}")
        del lines["example"]
        lines |= _architecture(space, path) | _ground_truth(benchmark, space, path)
        plots.save(architecture.draw(space, path), out)
        lines["drawing"] = str(out)
    elif benchmark is not None or out is not None:
        raise NASError("arch is not given: benchmark and out need the architecture that they are about")
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:{width}}  {value}")


def _range(numbers: tuple[int, ...]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def _architecture(space: SearchSpace, path: Architecture) -> dict[str, str]:
    cost = space.cost(path)
    lines = {
        "arch": space.encode(path),
        "number": f"{space.index(path):,}",
        "params": f"{cost.params:,}",
        "MACs": f"{cost.macs:,}",
    }
    # A part of a space counts its isomorphic paths one by one.
    if space is space.whole or space.size <= ENUMERABLE:
        lines["isomorphic"] = f"{space.class_size(path):,} (paths that are this network when trained alone)"
    return lines


def _ground_truth(file: Path | None, space: SearchSpace, path: Architecture) -> dict[str, str]:
    if file is None:
        return {}
    table = TabularBenchmark.read(file)
    arch = table.paths(ListedSpace(space, (path,)))[path]
    found = {}
    for dataset in table.datasets:
        truth = table.column(dataset)
        rank = 1 + sum(accuracy > truth[arch] for accuracy in truth.values())
        found[dataset] = f"{truth[arch]:.2f} %, rank {rank:,} of {len(truth):,}"
    return found
