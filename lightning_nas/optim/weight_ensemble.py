"""The average of a run's last weights."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_nas import checkpoint
from lightning_nas.errors import NASError
from lightning_nas.files import written_whole

KEPT = ("epoch", "global_step", "pytorch-lightning_version", "hyper_parameters")
"""What else a checkpoint needs to be loaded. The state of the training belongs to one moment of it."""


class WeightEnsemble(Callback):
    """Averages the weights of the last steps of a run (temporal weight ensemble).

    Guo et al. average checkpoints of one supernet to steady its scores; Ning et al., Evaluating Efficient Performance
    Estimators of Neural Architectures (NeurIPS 2021, Sec. 6.1), find that 3 or 5 improve rankings on NAS-Bench-201 and do
    neither good nor harm on NAS-Bench-301::

        ensemble = (w(T) + w(T - gap) + ... + w(T - (snapshots - 1) gap)) / snapshots

    The snapshots lie in ``snapshots/`` of the run directory, where a resumed run finds them. At the end their average is
    written to ``ensemble.ckpt``. It can be scored like ``last.ckpt``, and not continued. Running statistics of batch-norm
    are averaged too, and the mean of variances is not the variance of all: recalibrate them (``ranking.recalibrate``).

    Args:
        snapshots: How many weights are averaged, at least 2.
        spacing: Share of the run between them, in (0, 1). The papers do not say it; the last 10 to 20 percent of a run,
            where the learning rate is low, are our choice.
    """

    def __init__(self, snapshots: int = 5, spacing: float = 0.03) -> None:
        if snapshots < 2:
            raise NASError(f"WeightEnsemble.snapshots is {snapshots}: an average takes at least 2")
        if not 0 < spacing < 1:
            raise NASError(f"WeightEnsemble.spacing is {spacing}: valid are numbers between 0 and 1")
        self.snapshots = snapshots
        self.spacing = spacing
        self._files: dict[int, Path] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plans the snapshots.

        Raises:
            NASError: The run has no end, or is too short.
        """
        self._files = {}
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        total = trainer.estimated_stepping_batches
        if math.isinf(total):
            raise NASError(
                "WeightEnsemble averages the end of a run, but this one has none: set trainer.max_epochs or "
                "trainer.max_steps"
            )
        gap = max(1, round(self.spacing * total))
        steps = [int(total) - number * gap for number in reversed(range(self.snapshots))]
        if steps[0] < 1:
            raise NASError(
                f"WeightEnsemble.snapshots is {self.snapshots} with spacing {self.spacing}: that is more than the "
                f"{int(total)} steps of the run"
            )
        folder = Path(trainer.default_root_dir) / "snapshots"
        self._files = {step: folder / f"step_{step:08d}.ckpt" for step in steps}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the weights when it is time."""
        has_stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        if has_stepped and trainer.global_step in self._files:
            trainer.save_checkpoint(self._files[trainer.global_step], weights_only=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the average."""
        if not trainer.is_global_zero or not self._files:
            return
        found = [file for file in self._files.values() if file.is_file()]
        if len(found) < len(self._files) or trainer.global_step not in self._files:
            rank_zero_warn(
                f"no ensemble.ckpt is written: the run ended after step {trainer.global_step}, and {len(found)} of its "
                f"{len(self._files)} snapshots are there"
            )
            return
        write(average(found), Path(trainer.default_root_dir) / "ensemble.ckpt")


def write(ensemble: dict[str, Any], file: Path) -> None:
    """Writes a checkpoint, whole or not at all."""
    with written_whole(file) as temporary:
        torch.save(ensemble, temporary)


def average(files: Sequence[Path]) -> dict[str, Any]:
    """A checkpoint with the average of the weights in several checkpoints of one run, in any order.

    Raises:
        NASError: Fewer than two files, or one is no checkpoint of lightning_nas or not of the same run.
    """
    if len(files) < 2:
        raise NASError(f"an average takes at least 2 checkpoints, not {len(files)}")
    loaded = {file: checkpoint.read(file) for file in files}
    for file, content in loaded.items():
        if checkpoint.KEY not in content:
            raise NASError(f"{file} was not written by lightning_nas: it describes no search space")
    ordered = sorted(loaded, key=lambda file: int(loaded[file]["global_step"]))
    for before, file in itertools.pairwise(ordered):
        _require_one_run(before, loaded[before], file, loaded[file])
    newest = loaded[ordered[-1]]
    kept = {key: newest[key] for key in (*KEPT, checkpoint.KEY) if key in newest}
    return {**kept, "state_dict": average_weights([loaded[file]["state_dict"] for file in ordered])}


def average_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of every tensor, summed in double precision; of integers, such as counts, the last.

    Args:
        states: State dictionaries with the same keys and shapes, the newest last.

    Example:
        >>> old = {"weight": torch.tensor(1.0), "num_batches_tracked": torch.tensor(10)}
        >>> new = {"weight": torch.tensor(3.0), "num_batches_tracked": torch.tensor(20)}
        >>> average_weights([old, new])
        {'weight': tensor(2.), 'num_batches_tracked': tensor(20)}
    """
    return {name: _mean([state[name] for state in states]) for name in states[-1]}


def _mean(tensors: list[Tensor]) -> Tensor:
    newest = tensors[-1]
    if not newest.is_floating_point():
        return newest.clone()
    total = torch.zeros_like(newest, dtype=torch.float64)
    for tensor in tensors:
        total += tensor
    return (total / len(tensors)).to(newest.dtype)


def _require_one_run(file: Path, content: dict[str, Any], other: Path, newer: dict[str, Any]) -> None:
    """Refuses what is evidently not of one run.

    Raises:
        NASError: Steps are equal, or spaces, seeds or weights differ.
    """
    if content["global_step"] == newer["global_step"]:
        raise NASError(
            f"{file} and {other} are both of step {newer['global_step']}: give different ones of one run"
        )
    for what, fact in (("search spaces", _space), ("seeds", _seeds), ("weights", _shapes)):
        # A snapshot of weights alone knows no seed.
        if fact(content) and fact(newer) and fact(content) != fact(newer):
            raise NASError(f"{file} and {other} are of different {what}: give checkpoints of one run")


def _space(content: dict[str, Any]) -> Any:
    return {key: content[checkpoint.KEY][key] for key in ("format", "space", "norm")}


def _seeds(content: dict[str, Any]) -> dict[str, int]:
    """The seeds of samplers and other callbacks."""
    states = content.get("callbacks", {}).items()
    return {name: state["seed"] for name, state in states if "seed" in state}


def _shapes(content: dict[str, Any]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in content["state_dict"].items()}
