"""``python -m lightning_nas``."""

import subprocess
import sys

import pytest

CODE = """
import runpy, signal, sys
from pathlib import Path
sys.argv = ["lightning-nas", "describe", "--space", "Pooling"]
runpy.run_module("lightning_nas", run_name="__main__")
import torch; torch.set_num_threads(2); torch.ones(300, 300) @ torch.ones(300, 300)
threads = [(task / "status").read_text() for task in Path("/proc/self/task").iterdir()]
held = [int(text.partition("SigBlk:")[2].split()[0], 16) >> signal.SIGUSR1 - 1 & 1 for text in threads]
print(len(held) > 1, set(held))
"""


@pytest.mark.slow
def test_all_threads_hold_the_signal_of_slurm_back() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("True {1}\n")
    assert "paths" in done.stdout
