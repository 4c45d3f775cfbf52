"""A resumed run equals one that was never interrupted: weights, sampler and metrics, bit for bit."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from sampler_cases import SAMPLERS

from lightning_nas.spaces import NormPolicy, Pooling

# 3 epochs of 4 batches.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{name: (name, {}, {}) for name in SAMPLERS},
    "accumulate": ("uniform", {"accumulate_grad_batches": 2}, {}),
    "coast": ("uniform", {}, {"inactive_params": "coast"}),
    "active_mean": ("uniform", {"gradient_clip_val": 0.5}, {"grad_reduce": "active_mean"}),
    "running_stats": (
        "uniform",
        {"check_val_every_n_epoch": 2},
        {"space": Pooling(blocks=(1, 1, 1), channels=(2, 2, 4)), "norm": NormPolicy(running_stats=True)},
    ),
    "cut_epochs": ("density", {"limit_train_batches": 3}, {}),
    "max_steps": ("density", {"max_steps": 10}, {}),
    "max_steps_alone": ("uniform", {"max_steps": 8, "max_epochs": -1}, {}),
    "validation_within_epochs": ("uniform", {"val_check_interval": 2}, {}),
    "bf16": ("pada", {"precision": "bf16-mixed", "accumulate_grad_batches": 2}, {}),
    "sanity_check": ("uniform", {"num_sanity_val_steps": 2}, {}),
}


def resumed_equals_straight(tmp_path: Path, case: str, checkpoints: Callable[[str], bool]) -> int:
    name, flags, options = CASES[case]
    sampler = SAMPLERS[name]
    flags, options = sampler.flags | flags, sampler.options | options
    straight = tmp_path / "straight"
    module, chosen = short_runs.fit(
        straight, sampler.make, *sampler.companions(), module=short_runs.supernet_module(**options), **flags
    )
    found = [path for path in sorted(straight.glob("*.ckpt")) if checkpoints(path.stem)]
    for checkpoint in found:
        root = tmp_path / checkpoint.stem
        root.mkdir()
        # All rows, as if the run had been killed at its very end: what lies after the checkpoint must go.
        shutil.copy(straight / "metrics.csv", root)
        twin, twin_sampler = short_runs.fit(
            root,
            sampler.make,
            *sampler.companions(),
            resume_from=checkpoint,
            module=short_runs.supernet_module(**options),
            **flags,
        )
        short_runs.assert_same(twin.state_dict(), module.state_dict())
        short_runs.assert_same(twin_sampler.state_dict(), chosen.state_dict())
        assert short_runs.metrics(root) == short_runs.metrics(straight), checkpoint.name
    return len(found)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_resume_from_every_checkpoint(tmp_path: Path, case: str) -> None:
    number = resumed_equals_straight(tmp_path, case, lambda _: True)
    # After every optimizer step that no validation follows; the last of an epoch when the epoch has ended.
    fewer = {
        "accumulate": 6,
        "bf16": 6,
        "cut_epochs": 9,
        "max_steps": 10,
        "max_steps_alone": 8,
        "validation_within_epochs": 9,
    }
    assert number == fewer.get(case, 12)


KILLED = """
import os, signal, sys
from pathlib import Path
from typing import Any
sys.path.insert(0, {tests!r})
import short_runs
from lightning import Callback
from lightning_nas.samplers import DensitySampler

class Kill(Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == 8:
            os.kill(os.getpid(), signal.SIGKILL)

root = Path({root!r})
module, sampler = short_runs.supernet_module(), DensitySampler(tau=0.5, warmup_steps=6, probe_size=16)
last = root / "last.ckpt"
callbacks = [sampler, short_runs.Ranking(), short_runs.RunCheckpoint(every_n_train_steps=1)]
trainer = short_runs.trainer(root, *callbacks, *([] if last.exists() or {straight} else [Kill()]))
trainer.fit(module, datamodule=short_runs.digits(), ckpt_path=last if last.exists() else None)
short_runs.torch.save({{"weights": module.state_dict(), "sampler": sampler.state_dict()}}, root / "end.pt")
"""


@pytest.mark.slow
def test_a_killed_process_is_continued_by_a_fresh_one(tmp_path: Path) -> None:
    def run(name: str, straight: bool) -> int:
        code = KILLED.format(tests=str(Path(__file__).parent), root=str(tmp_path / name), straight=straight)
        return subprocess.run([sys.executable, "-c", code], check=False, timeout=200).returncode

    assert run("killed", straight=False) == -signal.SIGKILL
    assert (tmp_path / "killed" / "last.ckpt").exists()
    assert not (tmp_path / "killed" / "end.pt").exists()
    assert run("killed", straight=False) == 0
    assert run("straight", straight=True) == 0
    ends = [torch.load(tmp_path / name / "end.pt", weights_only=True) for name in ("killed", "straight")]
    short_runs.assert_same(*ends)
    assert short_runs.metrics(tmp_path / "killed") == short_runs.metrics(tmp_path / "straight")
