"""The verbs of few-shot search."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lightning import Callback, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from lightning_nas import checkpoint, fewshot, retraining
from lightning_nas.callbacks.run_checkpoint import PREEMPTED
from lightning_nas.callbacks.run_directory import record_provenance
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError, require_at_least
from lightning_nas.loggers import UNHEARD, quiet
from lightning_nas.module import SupernetModule
from lightning_nas.random import resolve_seed
from lightning_nas.run_trainer import RunTrainer, suits_one_network, trainer_of
from lightning_nas.spaces import Path as Architecture
from lightning_nas.tricks import NO_TRICKS


class FewShotTrainer(RunTrainer):
    """Splits a space, trains a supernet for every part, and scores paths of all parts."""

    def split(
        self,
        model: SupernetModule,
        datamodule: ImageDataModule,
        metric: fewshot.SplitMetric,
        depth: int = 3,
        branching: int | list[int] = 2,
        order: Literal["fixed", "score"] = "fixed",
        decisions: list[int] | None = None,
        balanced: bool = False,
        mixture_epochs: int = 0,
        ckpt_path: str | None = None,
        out: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Split the space into parts that get supernets of their own.

        Writes ``tree.json``, ``tree.png``, ``leaves.csv``, and for every leaf a ``leaf-0.yaml`` that names its space; with a
        table of ground truth (``ranking.benchmark``) also how that is distributed over the leaves, ``ground_truth.png``.

        Args:
            model: The supernet.
            datamodule: The data; training images are what metrics look at.
            metric: Says which choices of a decision stay together.
            depth: How often parts are divided.
            branching: Into how many groups, or a number for every level.
            order: Whether parts are divided at the decisions in their ``fixed`` order, or at the one with the best ``score``.
            decisions: At which ones; null for all, from the first.
            balanced: Whether groups are equally large.
            mixture_epochs: Epochs for which all operations are trained jointly before.
            ckpt_path: Trained weights; fresh ones if not given.
            out: Where the files go; the run directory if not given.
            seed: Of random splits; None takes the one of ``seed_everything``.

        Raises:
            NASError: The space cannot be split like that, the metric cannot be had, or there is a split already.
        """
        require_at_least(0, mixture_epochs=mixture_epochs)
        folder = Path(out or self.default_root_dir)
        fewshot.require_free(folder)
        levels = tuple(branching) if isinstance(branching, list) else (branching,)
        plan = fewshot.Plan(depth, levels, order, None if decisions is None else tuple(decisions), balanced)
        plan.check(metric)
        plan.candidates(model.space)
        truth = self._ground_truth(model)
        if ckpt_path is not None:
            checkpoint.load_weights(model.supernet, model.space, Path(ckpt_path))
        if mixture_epochs:
            self._train_mixture(fewshot.MixtureModule(model), datamodule, mixture_epochs)
        model.to(self.strategy.root_device)
        subject = fewshot.Subject(model.space, model.supernet, datamodule, resolve_seed(seed))
        root = fewshot.split(subject, metric, plan)
        settings = {
            "metric": str(metric),
            "plan": vars(plan).copy(),
            "seed": subject.seed,
            "mixture_epochs": mixture_epochs,
            "ckpt_path": ckpt_path,
            "weights": checkpoint.digest(model.supernet),
        }
        if self.is_global_zero:
            fewshot.report(root, f"split by {metric}", truth, folder)
            fewshot.write(root, settings, folder)
            record_provenance(self, folder, "split")
            print(f"{folder / fewshot.TREE}: {len(root.leaves)} leaves")

    def fit_fewshot(
        self,
        model: SupernetModule,
        datamodule: ImageDataModule,
        tree: str | None = None,
        leaf: int | None = None,
        inherit: str | None = None,
        halving: list[fewshot.Rung] | None = None,
    ) -> None:
        """Train a supernet for every leaf of a split.

        Each in its run directory, ``leaf-0`` and so on in that of the trainer. Interrupted, it continues where it stopped
        when called again.

        Args:
            model: Names the space that was split, the optimizer and the schedule.
            datamodule: The data.
            tree: Folder in which ``split`` wrote ``tree.json``; the run directory if not given.
            leaf: Trains this one alone; null trains all, one after the other.
            inherit: Checkpoint of the one-shot supernet whose weights the leaves begin with; null begins with fresh ones.
            halving: Epochs after which only a share of the leaves goes on, those of the highest validation accuracy.

        Raises:
            NASError: Something does not fit the split.
        """
        few = self._few_shot(model, datamodule, tree, inherit)
        rungs = fewshot.checked(halving or (), self.max_epochs, self.check_val_every_n_epoch)
        if leaf is not None and rungs:
            raise NASError(f"leaf is {leaf}, but halving compares all leaves: leave one of the two out")
        if leaf is not None and not 0 <= leaf < len(few.leaves.parts):
            raise NASError(f"leaf is {leaf}: valid are 0 to {len(few.leaves.parts) - 1}")
        if leaf is None:
            record_provenance(self, few.root, "fit")
        try:
            if leaf is None:
                few.train_all(rungs)
            else:
                few.train(leaf)
        except SystemExit as end:
            # A job of SLURM looks for it in the run directory that it knows: of one leaf that of the leaf, where it is.
            preempted = isinstance(end.code, int) and end.code > 128
            if preempted and leaf is None and self.is_global_zero:
                (few.root / PREEMPTED).touch()
            raise

    def validate_fewshot(
        self,
        model: SupernetModule,
        datamodule: ImageDataModule,
        tree: str | None = None,
        retrain: bool = False,
    ) -> None:
        """Score paths of the whole space, each by the supernet of its own leaf, and choose a leaf.

        Writes ``ranking.csv`` and ``ranking.json`` as ``validate`` does, ``selection.json``, and what would have been chosen
        in the course of the training, ``leaves_over_epochs.csv`` and ``leaves_over_epochs.png``. The keys of ``ranking`` say
        which paths of the whole space are scored, and how.

        Args:
            model: Names the space that was split.
            datamodule: The data; the validation split scores.
            tree: Folder in which ``split`` wrote ``tree.json``; the run directory if not given.
            retrain: Train alone the path that each leaf, of those trained to the end, ranks first, and choose the leaf
                whose network validates best.

        Raises:
            NASError: A leaf is not trained, none that was trained to the end has a path that is scored, or something does
                not fit the split.
        """
        few = self._few_shot(model, datamodule, tree, None)
        few.require_trained()
        ranking = copy.deepcopy(self._ranking)
        paths, truth = ranking.select(model.space), self._ground_truth(model)
        ranking.stratified, ranking.probe_size = False, 0
        files = fewshot.write_own(few.leaves, few.root, paths)
        for leaf, file in files.items():
            ranking.paths = str(file)
            folder = few.leaves.folder(few.root, leaf)
            trainer = trainer_of(folder, False, [copy.deepcopy(ranking)], self._flags)
            with warnings.catch_warnings():
                # The sampler of the training has nothing to do here.
                warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint")
                supernet = few.supernet(leaf)
                trainer.validate(supernet, datamodule, ckpt_path=folder / "last.ckpt", verbose=False)
            trainer.strategy.barrier()  # what the first process writes is there for all
        if self.is_global_zero:
            fewshot.merge(few.leaves, few.root, paths)
            fewshot.draw(few.leaves, few.root, truth)
        rows = fewshot.rows_of(few.leaves, few.root, truth, files)
        if retrain:
            self._retrain_winners(few, rows, truth)
        selection = fewshot.choose(rows, "retrained" if retrain else "accuracy")
        if self.is_global_zero:
            fewshot.write_selection(selection, few.root)
            record_provenance(self, few.root, "validate")
            print(f"{few.root / fewshot.RESULT}: {_sentence(selection)}")

    def _retrain_winners(
        self, few: fewshot.FewShot, rows: list[dict[str, Any]], truth: dict[Architecture, float]
    ) -> None:
        def make_trainer(root: Path, callbacks: Sequence[Callback]) -> Trainer:
            # The configuration in the run directory stays that of the leaves.
            kept = [copy.deepcopy(callback) for callback in self._given if suits_one_network(callback)]
            return trainer_of(root, copy.deepcopy(self._logger), [*kept, *callbacks], self._flags)

        settings = retraining.Retraining(few.module, few.data, NO_TRICKS, None, truth, few.seed, make_trainer)
        for row in rows:
            if not row["finished"]:
                continue
            folder = few.leaves.folder(few.root, row["leaf"]) / "retrain"
            result = retraining.continued(settings, few.leaves.space.decode(row["arch"]), folder)
            row["retrained"] = result["val/accuracy"]

    def _few_shot(
        self, model: SupernetModule, datamodule: ImageDataModule, tree: str | None, inherit: str | None
    ) -> fewshot.FewShot:
        if inherit is not None and not Path(inherit).is_file():
            raise NASError(f"inherit is {inherit!r}, but there is no such file")
        root = Path(self.default_root_dir)
        return fewshot.FewShot(
            module=model,
            data=datamodule,
            leaves=fewshot.read(Path(tree or root), model.space),
            root=root,
            inherit=None if inherit is None else Path(inherit),
            seed=resolve_seed(None),
            make_trainer=self._for_leaf,
        )

    def _for_leaf(self, root: Path, callbacks: Sequence[Callback]) -> "RunTrainer":
        """A trainer like this one for the supernet of a leaf."""
        # Its configuration is written before all are trained.
        kept = [copy.deepcopy(c) for c in self._given if not isinstance(c, SaveConfigCallback)]
        return trainer_of(root, copy.deepcopy(self._logger), [*kept, *callbacks], self._flags)

    def _train_mixture(self, module: fewshot.MixtureModule, data: ImageDataModule, epochs: int) -> None:
        own = UNHEARD | {"max_epochs": epochs, "limit_val_batches": 0, "num_sanity_val_steps": 0}
        with quiet():
            trainer = Trainer(default_root_dir=self.default_root_dir, **self._flags | own)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You passed in a `val_dataloader`")
            trainer.fit(module, datamodule=data)


def _sentence(selection: dict[str, Any]) -> str:
    text = f"leaf {selection['leaf']}, {selection['arch']}"
    if selection["regret"] is None:
        return text
    return (
        f"{text}, ground truth {selection['ground_truth']:.2f} % ({selection['regret']:.2f} points are lost to leaf "
        f"{selection['best_leaf']})"
    )
