"""Retraining: architectures trained alone to their final accuracy, and the random baseline."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lightning_nas import checkpoint
from lightning_nas.architecture import named, network_seed
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.evaluation import select_paths
from lightning_nas.files import written_whole
from lightning_nas.module import SupernetModule
from lightning_nas.random import torch_seeded
from lightning_nas.spaces import Path as Architecture
from lightning_nas.standalone import StandaloneModule
from lightning_nas.tricks import Tricks

RESULT = "retrain.json"
RANDOM = "random"

MakeTrainer = Callable[[Path, Sequence[Callback]], Trainer]
"""Makes the trainer of one network from its folder and the callbacks that it needs."""

Result = dict[str, Any]
"""What became of a network, in plain types, as in ``retrain.json``."""


@dataclass(frozen=True)
class Retraining:
    """What is to be trained, and how.

    Attributes:
        module: Names the space, the optimizer and the schedule.
        data: Trains, validates and tests.
        tricks: What else the training does.
        inherit: Checkpoint of the supernet whose weights the networks begin with; None for fresh ones.
        truth: Ground truth in percent, of the paths that have one.
        seed: Of weights and draws.
        make_trainer: Makes the trainer of a network.
    """

    module: SupernetModule
    data: ImageDataModule
    tricks: Tricks
    inherit: Path | None
    truth: dict[Architecture, float]
    seed: int
    make_trainer: MakeTrainer

    def train(self, path: Architecture, root: Path, ckpt_path: Path | None) -> Result:
        """Trains and scores one network, and writes ``retrain.json``.

        Args:
            path: The architecture.
            root: Its run directory.
            ckpt_path: Checkpoint to continue from; None begins.
        """
        network = self._network(path)
        averaging = [EMAWeightAveraging(decay=self.tricks.ema)] if self.tricks.ema else []
        trainer = self.make_trainer(root, averaging)
        trainer.fit(network, datamodule=self.data, ckpt_path=ckpt_path)
        _take_average(network, trainer)
        [val] = trainer.validate(network, datamodule=self.data, verbose=False)
        [test] = trainer.test(network, datamodule=self.data, verbose=False)
        result = self._result(path, {**val, **test}, trainer)
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            write(result, root)
        trainer.strategy.barrier()  # what the first process writes is there for all
        return result

    def _network(self, path: Architecture) -> StandaloneModule:
        # The seed of the same network of a ground truth.
        with torch_seeded(network_seed(self.module.space, path, self.seed)):
            network = self.module.standalone(path, self.tricks, self.seed)
        if self.inherit is not None:
            fresh = inherit(network.network, self.inherit, self.module, path)
            rank_zero_info(f"Inherited from {self.inherit}; fresh: {', '.join(fresh) or 'nothing'}")
        return network

    def _result(self, path: Architecture, metrics: dict[str, float], trainer: Trainer) -> Result:
        space, truth = self.module.space, self.truth.get(path)
        cost, test = space.cost(path), metrics["test/accuracy"]
        return {
            "arch": space.encode(path),
            "params": cost.params,
            "macs": cost.macs,
            **{name: round(value, 4) for name, value in metrics.items()},
            "ground_truth": truth,
            "difference": None if truth is None else round(test - truth, 4),
            "inherited": None if self.inherit is None else str(self.inherit),
            "seed": self.seed,
            "settings": self._settings(trainer),
        }

    def _settings(self, trainer: Trainer) -> dict[str, Any]:
        module = self.module
        optimizer = module.optimizer([nn.Parameter(torch.zeros(1))])
        plain = {
            key: value for key, value in optimizer.defaults.items() if not isinstance(value, torch.Tensor)
        }
        images = self.data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        return {
            "optimizer": {"name": type(optimizer).__name__, **plain},
            "schedule": module.schedule,
            "final_lr": module.final_lr,
            "warmup_epochs": module.warmup_epochs,
            "decay": module.decay,
            "label_smoothing": module.label_smoothing,
            "gradient_clip_val": trainer.gradient_clip_val,
            "images_per_step": images,
            "steps": trainer.global_step,
            "tricks": vars(self.tricks),
        }


def one(retraining: Retraining, arch: str, root: Path, ckpt_path: str | None) -> Result:
    """Trains one architecture.

    Args:
        retraining: How.
        arch: Its text, a ``search.json``, or ``random``.
        root: The run directory.
        ckpt_path: ``last`` or a checkpoint continues a training; None begins one.

    Raises:
        NASError: There is no such architecture or checkpoint, or the directory holds another run.
    """
    require_own_directory(root, ckpt_path)
    space = retraining.module.space
    path = select_paths(space, 1, retraining.seed)[0] if arch == RANDOM else named(space, arch)
    start = None if ckpt_path is None else checkpoint.last(root) if ckpt_path == "last" else Path(ckpt_path)
    return retraining.train(path, root, start)


def best_of_random(retraining: Retraining, number: int, root: Path, ckpt_path: str | None) -> Result:
    """Trains random architectures, each in a folder of its own, and reports the one that validates best.

    Interrupted, it continues with the network at which it stopped. (Roshtkhari et al., Debiased One-shot NAS, compare
    with the best of 10.)

    Args:
        retraining: How.
        number: How many different ones.
        root: The run directory.
        ckpt_path: ``last`` continues; None begins.

    Raises:
        NASError: There are not as many architectures, or the directory holds another run.
    """
    require_own_directory(root, ckpt_path)
    if ckpt_path not in (None, "last"):
        raise NASError(
            f"ckpt_path is {ckpt_path!r}, but number is {number}: valid is 'last', which continues all"
        )
    if number > retraining.module.space.size:
        raise NASError(
            f"number is {number}, but the space has {retraining.module.space.size} architectures: valid are numbers up "
            "to that"
        )
    paths = select_paths(retraining.module.space, number, retraining.seed)
    results = [
        continued(retraining, path, folder) for path, folder in zip(paths, folders(root, number), strict=True)
    ]
    best = max(results, key=lambda result: float(result["val/accuracy"]))
    return best | {"number": number, "networks": results}


def continued(retraining: Retraining, path: Architecture, folder: Path) -> Result:
    """Trains one of several networks, unless it is finished, from where it was interrupted if it was.

    Args:
        retraining: How.
        path: The architecture.
        folder: Its run directory.

    Raises:
        NASError: The directory holds the network of another architecture.
    """
    result = _finished(folder)
    if result is None:
        return retraining.train(path, folder, _last(folder))
    arch = retraining.module.space.encode(path)
    if result["arch"] != arch:
        raise NASError(
            f"{folder} holds the network of {result['arch']}, but that of {arch} is wanted: remove it"
        )
    return result


def write(result: Result, root: Path) -> None:
    """Writes ``retrain.json``."""
    with written_whole(root / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")


def sentence(result: Result) -> str:
    """A result in one line."""
    best_of = f"best of {result['number']} random networks: " if "number" in result else ""
    top5 = f" (top-5 {result['test/top5']:.2f} %)" if "test/top5" in result else ""
    text = (
        f"{best_of}{result['arch']}: validation {result['val/accuracy']:.2f} %, "
        f"test {result['test/accuracy']:.2f} %{top5}"
    )
    if result["ground_truth"] is None:
        return text
    return f"{text}, ground truth {result['ground_truth']:.2f} % ({result['difference']:+.2f})"


def folders(root: Path, number: int) -> list[Path]:
    """Where several networks are trained."""
    return [root / f"network_{position:02d}" for position in range(number)]


def require_own_directory(root: Path, ckpt_path: str | None) -> None:
    """Refuses to write over another run.

    Args:
        root: The run directory.
        ckpt_path: Where the training continues; None begins one.

    Raises:
        NASError: The directory holds the run of a supernet, or a retraining that is not continued.
    """
    last = root / "last.ckpt"
    if last.exists() and not checkpoint.holds_network(last):
        raise NASError(
            f"trainer.default_root_dir {str(root)!r} holds the run of a supernet: give the networks trained alone another"
        )
    begun = last.exists() or any(root.glob("network_*/last.ckpt"))
    if ckpt_path is None and begun:
        raise NASError(
            f"trainer.default_root_dir {str(root)!r} already holds a retraining: continue it (--ckpt_path last), or choose "
            "another directory"
        )
    if ckpt_path == "last" and not begun:
        checkpoint.last(root)


def inherit(network: nn.Module, supernet: Path, module: SupernetModule, path: Architecture) -> list[str]:
    """Gives a network the weights of its path in a supernet.

    Args:
        network: The network alone.
        supernet: Checkpoint of the supernet.
        module: Names the space.
        path: The architecture.

    Returns:
        The names of parameters and buffers that the supernet does not have and that stay fresh, such as ``norm.weight``;
        those that layers of a kind have in common once.

    Raises:
        NASError: The file is no checkpoint of a supernet of the same space.
    """
    trained = checkpoint.load_supernet(supernet)
    checkpoint.require(checkpoint.read(supernet), module.space, trained.norm)
    weights = trained.extract(path).state_dict()
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected, unexpected
    return sorted({name.rpartition(".")[2] for name in missing})


def _take_average(network: StandaloneModule, trainer: Trainer) -> None:
    """Scores what ``last.ckpt`` holds: the averaged weights, also where a finished training is continued."""
    trainer.strategy.barrier()  # the first process writes the file
    last = Path(trainer.default_root_dir) / "last.ckpt"
    if network.tricks.ema and last.exists() and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        network.load_state_dict(checkpoint.read(last)["state_dict"])


def _finished(folder: Path) -> Result | None:
    file = folder / RESULT
    return json.loads(file.read_text()) if file.is_file() else None


def _last(folder: Path) -> Path | None:
    last = folder / "last.ckpt"
    return last if last.is_file() else None
