"""A callback that compiles the blocks of a supernet: docs/compile.md says what that brings, and where it does not."""

from collections.abc import Iterator

import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from lightning_nas.spaces.operations import BasicBlock, Bottleneck, InvertedResidual

BLOCKS = (nn.Sequential, BasicBlock, Bottleneck, InvertedResidual)


class Compiled(Callback):
    """Compiles every block of layers by itself and in place, so that paths share what is compiled, and names stay.

    Args:
        backend: Of ``torch.compile``.
        graphs: How many are kept for one kind of block. Blocks that differ in channels, kernel, resolution or batch size need
            one each, and another one for scoring; torch keeps 8, and runs all others as they are.
    """

    def __init__(self, backend: str = "inductor", graphs: int = 256) -> None:
        self.backend = backend
        self.graphs = graphs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Marks the blocks; torch compiles each of them when it first runs."""
        torch._dynamo.config.recompile_limit = self.graphs
        for block in blocks(pl_module):
            block.compile(backend=self.backend, dynamic=False)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks that are in no other."""
    for child in module.children():
        if isinstance(child, BLOCKS):
            yield child
        else:
            yield from blocks(child)
