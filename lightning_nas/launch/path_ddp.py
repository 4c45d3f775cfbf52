"""Data-parallel training that exchanges the gradients of what a step trained, and of nothing else."""

import zlib
from collections.abc import Callable
from datetime import timedelta
from itertools import chain
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed
from torch.distributed.constants import default_pg_timeout

from lightning_nas.errors import NASError


class PathDDPStrategy(DDPStrategy):
    """Averages over all ranks the gradients that there are, once before every optimizer step.

    DistributedDataParallel exchanges the gradients of the whole supernet, of which a step trains one path or a few, and
    looks for unused weights after every forward pass. Here the gradients that the step left are laid end to end, so that
    one message per data type carries them. Several paths per step and accumulated batches are exchanged together, before
    gradients are unscaled, clipped or seen by ``on_before_optimizer_step``. Weights and buffers are those of rank 0 at
    the start, and buffers also before every validation.

    On the command line ``--trainer.strategy path_ddp``.

    Args:
        timeout: How long a rank waits for the others, at the start and in every exchange.
        process_group_backend: ``nccl`` or ``gloo``; None takes the one that fits the device.
    """

    def __init__(
        self, timeout: timedelta | None = default_pg_timeout, process_group_backend: str | None = None
    ) -> None:
        super().__init__(timeout=timeout, process_group_backend=process_group_backend)

    def configure_ddp(self) -> None:
        """Leaves the module as it is, with the weights of rank 0."""
        assert self.model is not None
        self._broadcast(chain(self.model.parameters(), self.model.buffers()))
        # What ranks compare must not wait for their devices.
        is_gloo = distributed.get_backend() == "gloo"
        self._host: Any = None if is_gloo else distributed.new_group(backend="gloo", timeout=self._timeout)

    def on_validation_start(self) -> None:
        """Takes over the running statistics of rank 0, which are those of the checkpoint."""
        assert self.model is not None
        self._broadcast(self.model.buffers())

    def optimizer_step(self, optimizer: Any, closure: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
        """Steps after the gradients that the closure leaves were exchanged.

        Raises:
            NASError: Ranks left gradients of different weights.
        """

        def closure_and_exchange() -> Any:
            loss = closure()
            self._exchange()
            return loss

        return super().optimizer_step(optimizer, closure_and_exchange, *args, **kwargs)

    def _exchange(self) -> None:
        assert self.model is not None
        parameters = list(self.model.parameters())
        self._require_agreement(bytes(parameter.grad is not None for parameter in parameters))
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                kinds.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in kinds.values():
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            # Divided before they are added, as DistributedDataParallel does, lest half precision overflows.
            flat *= 1 / self.world_size
            distributed.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in gradients])
            averages = [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
            torch._foreach_copy_(gradients, averages)

    def _require_agreement(self, trained: bytes) -> None:
        """Refuses to add gradients of different weights: messages of different lengths would block or be mixed up."""
        digest = zlib.crc32(trained)
        extremes = torch.tensor([digest, -digest])
        distributed.all_reduce(extremes, distributed.ReduceOp.MAX, self._host)
        if extremes[0] != -extremes[1]:
            assert self.lightning_module is not None
            raise NASError(
                f"the ranks trained different weights in step {self.lightning_module.global_step}: a sampler must choose the "
                "same paths on every rank, as a function of seed, step and state"
            )

    @staticmethod
    def _broadcast(tensors: Any) -> None:
        for tensor in tensors:
            distributed.broadcast(tensor.detach(), src=0)
