"""Cost and keys of a path: added up, against building the network and counting."""

from collections.abc import Callable
from functools import partial
from itertools import cycle

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Figure, arguments, report, seconds, speedup
from lightning_nas import spaces
from lightning_nas.spaces import Cost, Path, SearchSpace

NAMES = (
    "Pooling",
    "NASBenchMacro",
    "NASBench201",
    "MobileNetV2",
    "DARTS",
    "NASBench1Shot1",
    "NDSResNet",
    "NDSResNeXt",
    "AutoFormer",
)
PER_ROUND = 300


def counted(space: SearchSpace, path: Path) -> Cost:
    """What one would write instead: the network is built, without memory, and run under PyTorch's counter."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = space.build_standalone(path).eval()
        network(torch.empty(1, space.in_channels, space.image_size, space.image_size))
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)


def measure(name: str, rounds: int) -> list[Figure]:
    space: SearchSpace = getattr(spaces, name)()
    rng = np.random.default_rng(0)
    paths = [space.sample(rng) for _ in range(PER_ROUND)]
    space.cost(paths[0])  # builds the table of its choices
    few = cycle(paths)

    def over(function: Callable[[Path], object]) -> None:
        for path in paths:
            function(path)

    taken = seconds(
        {
            "cost": partial(over, space.cost),
            "counted": lambda: counted(space, next(few)),
            "canonical": partial(over, space.canonical),
            "functional_key": partial(over, space.functional_key),
            "sample": lambda: over(lambda _: space.sample(rng)),
        },
        rounds,
    )
    per_path = {
        key: [1e6 * value / (1 if key == "counted" else PER_ROUND) for value in taken[key]] for key in taken
    }
    figures = [Figure(f"{name}.{key}", values, "µs") for key, values in per_path.items() if key != "counted"]
    return [
        *figures,
        speedup(f"{name}: cost of a path, counted / added up", per_path["cost"], per_path["counted"], "µs"),
    ]


def main() -> None:
    options = arguments(__doc__)
    report([figure for name in NAMES for figure in measure(name, 3 if options.quick else 15)], options)


if __name__ == "__main__":
    main()
