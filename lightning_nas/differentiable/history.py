"""What is learnt over the epochs, as files and figures."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from lightning_nas import architecture, plots
from lightning_nas.differentiable.module import DifferentiableModule
from lightning_nas.files import written_whole
from lightning_nas.loggers import log_figure, log_metrics
from lightning_nas.spaces import Path as Architecture

Epoch = dict[str, Any]
"""A line of ``genotypes.csv``, with the alphas and their probabilities, one list per decision."""

EPOCHS = "lightning_nas_learning_epochs"

COLUMNS = (
    "epoch",
    "arch",
    "entropy",
    "temperature",
    "settled",
    "accuracy",
    "genotype_accuracy",
    "ground_truth",
)
LOGGED = ("entropy", "temperature", "settled", "ground_truth")


class LearningHistory(Callback):
    """Logs what is learnt, and writes it into the run directory.

    After every epoch:

    - ``genotypes.csv``: the most probable path (``arch``); mean entropy of the decisions in nats; the temperature of the
      epoch; the number of settled decisions; the accuracies of the mixture and of the path, both with shared weights, in
      percent, where the epoch was validated; the ground truth of the path, where it is known. The logged metrics are
      ``learn/entropy`` and so on.
    - ``alphas.csv``: every alpha, and the probability of its choice.

    At the end ``learn.json``, whose ``best.arch`` is the architecture, ``genotype.png`` and ``alphas.png``.

    Args:
        truth: Ground truth of paths in percent, of those that have one.
    """

    RESULT: ClassVar[str] = "learn.json"

    def __init__(self, truth: Mapping[Architecture, float]) -> None:
        self._truth = truth
        self._epochs: list[Epoch] = []
        self._validated: dict[str, float] = {}

    # Not as the state of a callback: Lightning would miss it where the weights are scored.
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps the epochs so far."""
        checkpoint[EPOCHS] = self._epochs

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Continues there."""
        self._epochs = list(checkpoint.get(EPOCHS, ()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers the accuracies."""
        found = trainer.callback_metrics
        self._validated = {
            name: round(float(found[f"val/{name}"]), 4) for name in ("accuracy", "genotype_accuracy")
        }

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forgets those of another epoch."""
        self._validated = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs and writes the epoch. What it settles counts from the next one on."""
        assert isinstance(pl_module, DifferentiableModule)
        epoch = self._epoch(trainer, pl_module)
        self._epochs.append(epoch)
        log_metrics(trainer, {f"learn/{key}": epoch[key] for key in LOGGED if epoch[key] is not None})
        if _writes(trainer):
            self._write(Path(trainer.default_root_dir))

    def _epoch(self, trainer: Trainer, module: DifferentiableModule) -> Epoch:
        path, alphas = module.genotype, module.alphas
        return {
            "epoch": trainer.current_epoch + 1,
            "arch": module.space.encode(path),
            "entropy": alphas.entropy(),
            "temperature": module.strategy.temperature(module.progress),
            "settled": sum(alphas.settled),
            "accuracy": self._validated.get("accuracy"),
            "genotype_accuracy": self._validated.get("genotype_accuracy"),
            "ground_truth": self._truth.get(path),
            "alphas": [vector.tolist() for vector in alphas.vectors],
            "probabilities": [vector.tolist() for vector in alphas.probabilities()],
        }

    def _write(self, root: Path) -> None:
        plots.save_table(
            root / "genotypes.csv", {name: [epoch[name] for epoch in self._epochs] for name in COLUMNS}
        )
        columns = ("epoch", "decision", "choice", "alpha", "probability")
        rows = zip(*self._alphas(), strict=True)
        plots.save_table(root / "alphas.csv", dict(zip(columns, rows, strict=True)))

    def _alphas(self) -> Iterator[tuple[Any, ...]]:
        for epoch in self._epochs:
            vectors = zip(epoch["alphas"], epoch["probabilities"], strict=True)
            for decision, pairs in enumerate(vectors):
                for choice, (alpha, probability) in enumerate(zip(*pairs, strict=True)):
                    yield epoch["epoch"], decision, choice, alpha, probability

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the result and the figures."""
        assert isinstance(pl_module, DifferentiableModule)
        if not _writes(trainer) or not self._epochs:
            return
        root = Path(trainer.default_root_dir)
        for name, figure in self._figures(pl_module).items():
            plots.save(figure, root / f"{name}.png")
            log_figure(trainer, f"learn/figure_{name}", figure)
        with written_whole(root / self.RESULT) as temporary:
            temporary.write_text(json.dumps(self._result(pl_module), indent=2) + "\n")

    def _figures(self, module: DifferentiableModule) -> dict[str, Figure]:
        probabilities = [epoch["probabilities"] for epoch in self._epochs]
        return {
            "genotype": architecture.draw(module.space, module.genotype),
            "alphas": plots.probabilities_over_epochs(
                [epoch["epoch"] for epoch in self._epochs],
                list(zip(*probabilities, strict=True)),
                module.space.choice_names,
            ),
        }

    def _result(self, module: DifferentiableModule) -> dict[str, Any]:
        last, cost = self._epochs[-1], module.space.cost(module.genotype)
        kept = {key: last[key] for key in ("accuracy", "genotype_accuracy", "ground_truth")}
        best = {"arch": module.space.encode(module.genotype), "params": cost.params, "macs": cost.macs}
        return {
            "best": best | kept,
            "epochs": last["epoch"],
            "entropy": last["entropy"],
            "settled": sum(module.alphas.settled),
            "settings": module.learning(),
        }

    def sentence(self, module: DifferentiableModule) -> str:
        """The result in one line."""
        text = module.space.encode(module.genotype)
        for key, name in (
            ("genotype_accuracy", "validation with shared weights"),
            ("ground_truth", "ground truth"),
        ):
            if self._epochs and self._epochs[-1][key] is not None:
                text += f", {name} {self._epochs[-1][key]:.2f} %"
        return text


def _writes(trainer: Trainer) -> bool:
    return trainer.is_global_zero and not trainer.fast_dev_run  # type: ignore[attr-defined]
