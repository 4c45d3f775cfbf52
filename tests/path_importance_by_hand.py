"""Path importance sampling written out, for a test to compare with."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator


class PathImportanceByHand:
    """PA step by step with Python's numbers, and the training it steers. Paths are drawn from its own tables."""

    def __init__(
        self,
        module: SupernetModule,
        options: dict[str, Any],
        accumulate: int,
        clip: float,
        owned: Callable[[int, int], list[list[Tensor]]],
        live: Callable[[Any], set[tuple[int, int]]],
    ) -> None:
        self.module, self.accumulate, self.clip, self.owned, self.live = module, accumulate, clip, owned, live
        self.o = {
            "granularity": "operation",
            "accumulate": "ema",
            "capture": "post_clip",
            "param_free": "zero",
            "schedule": "rising",
            "delta": 1.0,
            "floor": 0.0,
            "update": "epoch",
            "paths": 1,
            **options,
        }
        self.numbers = module.space.num_choices
        self.pi = [[1 / m] * m for m in self.numbers]
        self.g: dict[Any, float] = {}
        self.n: dict[Any, int] = {}
        self.paths: list[Any] = []

    def key(self, decision: int, choice: int) -> Any:
        return choice if self.o["granularity"] == "operation" else (decision, choice)

    def draw(self, step: int) -> list[tuple[int, ...]]:
        uniform = generator(0, Stream.PATH, step).random((len(self.numbers), self.o["paths"]))
        return [
            tuple(
                next(c for c in range(len(row)) if sum(row[: c + 1]) > uniform[d, s] * sum(row))
                for d, row in enumerate(self.pi)
            )
            for s in range(self.o["paths"])
        ]

    def measure(self, window: list[tuple[int, ...]]) -> None:
        sums: dict[Any, float] = {}
        uses: dict[Any, int] = {}
        for decision, number in enumerate(self.numbers):
            for choice in range(number):
                times = sum((decision, choice) in self.live(path) for path in window)
                tensors = [p for part in self.owned(decision, choice) for p in part]
                if times and tensors:
                    key = self.key(decision, choice)
                    norm = sum(float(torch.as_tensor(p.grad).pow(2).sum().sqrt()) for p in tensors)
                    sums[key] = sums.get(key, 0.0) + norm
                    uses[key] = uses.get(key, 0) + times
        for key, total in sums.items():
            x = total / uses[key]
            if x > 0:
                self.n[key] = self.n.get(key, 0) + 1
                old = self.g.get(key, 0.0)
                ema = self.o["accumulate"] == "ema"
                self.g[key] = (old + x) / 2 if ema else old + (x - old) / self.n[key]

    def renew(self, progress: float) -> None:
        slope = {"rising": progress, "falling": 1 - progress, "constant": 1.0}
        delta = self.o["delta"] * slope[self.o["schedule"]]
        for d, m in enumerate(self.numbers):
            parametric = [c for c in range(m) if self.owned(d, c)]
            g = [self.g.get(self.key(d, c), 0.0) if c in parametric else 0.0 for c in range(m)]
            if self.o["param_free"] == "mean" and parametric:
                mean = sum(g) / len(parametric)
                g = [g[c] if c in parametric else mean for c in range(m)]
            p = [x / sum(g) for x in g] if sum(g) > 0 else [1 / m] * m
            row = [delta * p[c] + (1 - delta) / m for c in range(m)]
            if self.o["param_free"] == "uniform" and sum(g) > 0:
                k = len(parametric)
                row = [delta * p[c] * k / m + (1 - delta) / m if c in parametric else 1 / m for c in range(m)]
            self.pi[d] = [self.o["floor"] + (1 - m * self.o["floor"]) * x for x in row]

    def run(self, batches: list[Any], epochs: int, optimizer: torch.optim.Optimizer, coast: bool) -> None:
        per_epoch, window = len(batches) // epochs, []
        for step, (x, y, _) in enumerate(batches):
            if step and step % per_epoch == 0 and self.o["update"] == "epoch":
                self.renew((step // per_epoch - 1) / epochs)
                self.g, self.n = {}, {}
            paths = self.draw(step)
            self.paths.append(tuple(paths))
            window += paths
            if step % self.accumulate == 0:
                optimizer.zero_grad(set_to_none=not coast)
            losses = [F.cross_entropy(self.module.supernet(x.double(), path), y) for path in paths]
            (torch.stack(losses).mean() / self.accumulate).backward()
            if (step + 1) % self.accumulate:
                continue
            if self.o["capture"] == "pre_clip":
                self.measure(window)
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
            optimizer.step()
            if self.o["capture"] == "post_clip":
                self.measure(window)
            window = []
            if self.o["update"] == "step":
                self.renew((step // self.accumulate) / (len(batches) // self.accumulate))


def owned_of_toy(module: SupernetModule) -> Callable[[int, int], list[list[Tensor]]]:
    layers: Any = module.supernet.choices
    return lambda d, c: [list(layers[d][c - 1].parameters())] if c else []


def owned_of_201(module: SupernetModule) -> Callable[[int, int], list[list[Tensor]]]:
    names = {2: "nor_conv_1x1", 3: "nor_conv_3x3"}
    cells: Any = [layer for layer in module.supernet.layers if hasattr(layer, "edges")]  # type: ignore[union-attr]
    return lambda d, c: [list(cell.edges[d][names[c]].parameters()) for cell in cells] if c in names else []
