"""On what, and how, latencies are measured."""

import dataclasses
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lightning_nas.errors import NASError

Device = Literal["cpu", "cuda"]
Precision = Literal["32", "bf16", "16"]
Clock = Literal["wall", "process"]

DTYPES: dict[Precision, torch.dtype] = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class Conditions:
    """What a latency depends on beside the network.

    Attributes:
        device: ``cpu`` or ``cuda``.
        threads: Of the CPU, from 1.
        batch: Images that go through the network at once, from 1; a latency is that of the whole batch.
        precision: Of weights and images: ``32``, ``bf16`` or ``16`` bits.
        channels_last: Whether the channels of a pixel lie side by side in memory.
        clock: ``wall`` counts all time; ``process`` what a single thread of the CPU worked for this process, which is
            nearer to what it would take alone where others use the machine, too.

    Raises:
        NASError: A number is too small, there is no such device, or the clock does not suit it.
    """

    device: Device = "cpu"
    threads: int = 1
    batch: int = 1
    precision: Precision = "32"
    channels_last: bool = False
    clock: Clock = "wall"

    def __post_init__(self) -> None:
        for name in ("threads", "batch"):
            if getattr(self, name) < 1:
                raise NASError(f"{name} is {getattr(self, name)}: valid are numbers from 1")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise NASError("device is cuda, but PyTorch finds no GPU here: valid is cpu")
        if self.clock == "process" and (self.device == "cuda" or self.threads > 1):
            raise NASError(
                f"clock is process, but device is {self.device} and threads is {self.threads}: it times one thread of the cpu"
            )

    @property
    def facts(self) -> dict[str, Any]:
        """These, the name of the device and the version of PyTorch, in plain types."""
        return {
            "device_name": device_name(self.device),
            "torch": str(torch.__version__),
            **dataclasses.asdict(self),
        }


def device_name(device: Device) -> str:
    """What the processor or the GPU of this machine is called."""
    if device == "cuda":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1].strip() if found else platform.machine()
