"""The Trainer of this framework: Lightning's, with the rules of a run directory, and verbs of its own."""

import copy
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities import rank_zero_info

from lightning_nas import checkpoint, fewshot, groundtruth, retraining
from lightning_nas.callbacks import (
    DataWait,
    ExactResume,
    MetricsFile,
    PredictionsFile,
    RankAgreement,
    Ranking,
    RunCheckpoint,
    RunDirectory,
    WandbResults,
    WandbRun,
)
from lightning_nas.callbacks.run_checkpoint import PREEMPTED
from lightning_nas.data import ImageDataModule
from lightning_nas.differentiable import (
    AlphaOptimizer,
    Clipping,
    DifferentiableModule,
    LearningHistory,
    LearningStrategy,
    halved,
    require_flags,
)
from lightning_nas.errors import NASError, require_at_least
from lightning_nas.latency import LatencyTable
from lightning_nas.launch import PathDDPStrategy
from lightning_nas.loggers import UNHEARD, quiet
from lightning_nas.module import SupernetModule
from lightning_nas.random import resolve_seed
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.ranking.reliability import reliability
from lightning_nas.search import Evolution, FeasibleSpace, Latency, Limits, Search, SearchAlgorithm, Shifting
from lightning_nas.search.scoring import Criterion
from lightning_nas.search.transfer import load_transferred
from lightning_nas.spaces import Path as Architecture
from lightning_nas.tricks import NO_TRICKS, Tricks

StrategyRegistry.register(
    "path_ddp", PathDDPStrategy, "Exchanges the gradients of the paths that a step trained."
)


class NASTrainer(Trainer):
    """Keeps everything of a run in ``default_root_dir`` itself.

    Unless told otherwise it logs to ``metrics.csv`` and keeps ``last.ckpt``, written at the end of every
    epoch.

    Args:
        default_root_dir: The run directory.
        logger: More loggers beside ``metrics.csv``, such as ``WandbRun``; False is none at all.
        callbacks: More callbacks. A RunCheckpoint among them takes the place of the usual one.
        kwargs: Everything else that Lightning's Trainer takes.
    """

    def __init__(
        self,
        *,
        default_root_dir: str = "runs/default",
        logger: Logger | Iterable[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        **kwargs: Any,
    ) -> None:
        self._flags = kwargs
        self._logger = logger
        given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        # Lightning drops None nowhere and then fails on it; a sampler that is not given arrives as None.
        given = [callback for callback in given if callback is not None]
        self._given = tuple(given)
        bare = bool(kwargs.get("barebones"))
        checkpoints = not bare and kwargs.get("enable_checkpointing") is not False
        if checkpoints and not any(isinstance(callback, RunCheckpoint) for callback in given):
            given.append(RunCheckpoint())
        measured = [] if bare else [DataWait()]
        super().__init__(
            default_root_dir=default_root_dir,
            logger=logger if bare else _with_metrics_file(logger, default_root_dir),
            callbacks=[
                *(RunDirectory(), WandbResults(), PredictionsFile()),
                *given,
                *(RankAgreement(), *measured, ExactResume()),
            ],
            **kwargs,
        )
        # It would save within the signal's handler, in the middle of a step. RunCheckpoint saves after the step.
        environment = self._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False

    def groundtruth(
        self, model: SupernetModule, datamodule: ImageDataModule, seeds: int = 5, workers: int = 1
    ) -> None:
        """Train every path of a small space alone and write a table of ground truth.

        Writes ``groundtruth_runs.csv``, a line per network, and ``groundtruth.csv``, the table. Interrupted, it
        continues where it stopped when called again.

        Args:
            model: Names the space, the optimizer and the schedule.
            datamodule: The data; the test split is scored.
            seeds: Networks per path.
            workers: Processes, each on one core.
        """
        root = Path(self.default_root_dir)
        try:
            accuracies = groundtruth.measure(model, datamodule, self._flags, seeds, workers, root)
        except KeyboardInterrupt:
            sys.exit(
                f"Interrupted: what is finished stands in {root / groundtruth.RUNS}; the same command continues"
            )
        print(f"{root / groundtruth.TABLE}: {len(accuracies)} paths, {seeds} seeds")
        if seeds > 1:
            found = reliability(accuracies)
            print(
                f"spread between paths {found.between_paths:.2f}, between seeds {found.between_seeds:.2f} points; "
                f"tau between single seeds {found.tau_of_single_seeds:.2f}, ceiling of any tau {found.tau_ceiling:.2f}"
            )

    def search(
        self,
        model: SupernetModule,
        datamodule: ImageDataModule,
        ckpt_path: str | None = None,
        algorithm: SearchAlgorithm | None = None,
        limits: Limits = Limits(),  # noqa: B008  (frozen)
        latency: Latency | None = None,
        score: Criterion = "accuracy",
        shifting: Shifting | None = None,
        transfer: bool = False,
        out: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Find the best architecture of a trained supernet.

        Writes ``search.json``, ``search.csv`` and figures. Interrupted, it continues where it stopped when called again.
        Batch-norm statistics are measured anew where ``ranking.recalibrate`` says so, and a table of ground truth
        (``ranking.benchmark``) is shown beside what was found, without being used.

        Args:
            model: The supernet.
            datamodule: The data; the validation split scores.
            ckpt_path: The trained weights.
            algorithm: Which paths are scored; Evolution if not given.
            limits: What the network may cost.
            latency: What it may take on a device that was measured.
            score: What is to be high: the top-1 accuracy, or minus the loss.
            shifting: Train the weights on what the search scores, in a copy; without it they stay as they are.
            transfer: The supernet was trained on other data: its classifier starts anew, and shifting trains it.
            out: Where the results go; ``search`` in the run directory if not given.
            seed: Of the search; None takes the one of ``seed_everything``.

        Raises:
            NASError: No path is within the limits, the table of latencies is of another space, there are no images, or
                results cannot be written there, or would replace others.
        """
        constraints = limits.constraints(model.space)
        if latency is not None:
            latencies = LatencyTable.read(Path(latency.table), model.space)
            rank_zero_info(f"Latencies of {latency.table}: {latencies.told}")
            constraints.append(latency.constraint(latencies))
        search = Search(
            algorithm or Evolution(),
            FeasibleSpace(model.space, constraints),
            Path(out or Path(self.default_root_dir) / "search"),
            resolve_seed(seed),
            criterion=score,
            recalibrate=self._ranking.recalibrate,
            shifting=shifting,
            truth=self._ground_truth(model),
            progress=self._flags.get("enable_progress_bar") is not False,
        )
        if transfer and shifting is None:
            raise NASError(
                "transfer starts the classifier anew, and only shifting trains it: give --shifting.steps 20"
            )
        if transfer:
            load_transferred(model, ckpt_path)
            ckpt_path = None
        own = UNHEARD | {"enable_progress_bar": False}
        with quiet():
            trainer = Trainer(default_root_dir=self.default_root_dir, callbacks=[search], **self._flags | own)
        if trainer.limit_val_batches == 0:
            raise NASError("trainer.limit_val_batches is 0, but validation images score the paths: raise it")
        with warnings.catch_warnings():
            # The sampler of the training has nothing to do here.
            warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint")
            trainer.validate(model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=False)

    def learn(
        self,
        model: SupernetModule,
        datamodule: ImageDataModule,
        strategy: LearningStrategy,
        alphas: AlphaOptimizer = AlphaOptimizer(),  # noqa: B008  (frozen)
        ckpt_path: str | None = None,
    ) -> None:
        """Learn the architecture by gradient, together with the weights of the supernet.

        Writes ``learn.json``, ``genotypes.csv``, ``alphas.csv`` and figures, and keeps ``last.ckpt``. Sampler, data sampler
        and other callbacks of this package are for sampled paths and left out, but for RunCheckpoint; a table of ground
        truth (``ranking.benchmark``) is shown beside what is learnt, without being used.
        ``trainer.gradient_clip_val`` clips the gradient of the weights alone.

        Args:
            model: The supernet, and how its weights are trained.
            datamodule: The training split is halved where the strategy learns weights and alphas on different images,
                ``batch_size`` of either half in a step; the validation split is scored after epochs.
            strategy: How weights and alphas are learnt.
            alphas: The optimizer of the alphas.
            ckpt_path: ``last`` or a checkpoint continues; None begins.

        Raises:
            NASError: Something does not fit the space, the flags of the Trainer or the run directory.
        """
        require_flags(self)
        clipping = Clipping(self.gradient_clip_val, self.gradient_clip_algorithm)
        module = DifferentiableModule(model, strategy, alphas, clipping, resolve_seed(None))
        history = LearningHistory(self._ground_truth(model))
        root = Path(self.default_root_dir)
        # The module clips: Lightning does not under manual optimization, and refuses these flags.
        flags = self._flags | {"gradient_clip_val": None, "gradient_clip_algorithm": None}
        trainer = self._for_one_network(root, [history], flags)
        trainer.fit(
            module,
            datamodule=halved(datamodule) if strategy.needs_held_out else datamodule,
            ckpt_path=checkpoint.last(root) if ckpt_path == "last" else ckpt_path,
        )
        if self.is_global_zero and not self.fast_dev_run:  # type: ignore[attr-defined]
            print(f"{root / LearningHistory.RESULT}: {history.sentence(module)}")

    def retrain(
        self,
        model: SupernetModule,
        datamodule: ImageDataModule,
        arch: str,
        number: int = 1,
        inherit: str | None = None,
        tricks: Tricks = NO_TRICKS,
        ckpt_path: str | None = None,
    ) -> None:
        """Train one architecture alone, and report its accuracy.

        Writes ``retrain.json`` and keeps ``last.ckpt``. Sampler, data sampler and other callbacks of this package are for
        supernets and left out, but for RunCheckpoint; ``ranking.benchmark`` is the ground truth to compare with.

        Args:
            model: Names the space, the optimizer and the schedule.
            datamodule: The data; the validation split is scored after epochs, the test split at the end.
            arch: The architecture in the notation of its space, a ``search.json``, or ``random``.
            number: Networks to train; more than one needs the arch ``random``, and the one that validates best is reported.
            inherit: Checkpoint of a supernet whose weights the network begins with; None begins with fresh ones.
            tricks: What else the training does.
            ckpt_path: ``last`` or a checkpoint continues a training; None begins one.

        Raises:
            NASError: Something does not fit the space or the run directory.
        """
        if number < 1 or (number > 1 and arch != retraining.RANDOM):
            raise NASError(f"number is {number}: valid is 1, and with arch 'random' any larger one")
        if inherit is not None and not Path(inherit).is_file():
            raise NASError(f"inherit is {inherit!r}, but there is no such file")
        settings = retraining.Retraining(
            module=model,
            data=datamodule,
            tricks=tricks,
            inherit=None if inherit is None else Path(inherit),
            truth=self._ground_truth(model),
            seed=resolve_seed(None),
            make_trainer=lambda root, callbacks: self._for_one_network(root, callbacks, self._flags),
        )
        root = Path(self.default_root_dir)
        if number == 1:
            result = retraining.one(settings, arch, root, ckpt_path)
        else:
            result = retraining.best_of_random(settings, number, root, ckpt_path)
            if self.is_global_zero and not self.fast_dev_run:  # type: ignore[attr-defined]
                retraining.write(result, root)
        if self.is_global_zero:
            print(f"{root / retraining.RESULT}: {retraining.sentence(result)}")

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
            trainer = _trainer(folder, False, [copy.deepcopy(ranking)], self._flags)
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
            print(f"{few.root / fewshot.RESULT}: {_sentence(selection)}")

    def _retrain_winners(
        self, few: fewshot.FewShot, rows: list[dict[str, Any]], truth: dict[Architecture, float]
    ) -> None:
        def make_trainer(root: Path, callbacks: Sequence[Callback]) -> Trainer:
            # The configuration in the run directory stays that of the leaves.
            kept = [copy.deepcopy(callback) for callback in self._given if _suits_one_network(callback)]
            return _trainer(root, copy.deepcopy(self._logger), [*kept, *callbacks], self._flags)

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

    def _for_leaf(self, root: Path, callbacks: Sequence[Callback]) -> "NASTrainer":
        """A trainer like this one for the supernet of a leaf."""
        # Its configuration is written before all are trained.
        kept = [copy.deepcopy(c) for c in self._given if not isinstance(c, SaveConfigCallback)]
        return _trainer(root, copy.deepcopy(self._logger), [*kept, *callbacks], self._flags)

    def _train_mixture(self, module: fewshot.MixtureModule, data: ImageDataModule, epochs: int) -> None:
        own = UNHEARD | {"max_epochs": epochs, "limit_val_batches": 0, "num_sanity_val_steps": 0}
        with quiet():
            trainer = Trainer(default_root_dir=self.default_root_dir, **self._flags | own)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You passed in a `val_dataloader`")
            trainer.fit(module, datamodule=data)

    @property
    def _ranking(self) -> Ranking:
        return next((callback for callback in self._given if isinstance(callback, Ranking)), Ranking())

    def _ground_truth(self, model: SupernetModule) -> dict[Architecture, float]:
        ranking = self._ranking
        if ranking.benchmark is None:
            return {}
        return TabularBenchmark.read(ranking.benchmark).truth(model.space, ranking.dataset)

    def _for_one_network(
        self, root: Path, callbacks: Sequence[Callback], flags: dict[str, Any]
    ) -> "NASTrainer":
        """A trainer like this one, with these flags and without what is for sampled paths."""
        # Copies, because what is trained before has left its marks.
        kept = [copy.deepcopy(callback) for callback in self._given if _suits_one_network(callback)]
        saving = [callback for callback in self._given if isinstance(callback, SaveConfigCallback)]
        return _trainer(root, copy.deepcopy(self._logger), [*saving, *kept, *callbacks], flags)


# No method: where one hands the arguments of its own constructor on, the parser of the command line looks for them in a circle.
def _trainer(root: Path, logger: Any, callbacks: list[Callback], flags: dict[str, Any]) -> NASTrainer:
    return NASTrainer(default_root_dir=str(root), logger=logger, callbacks=callbacks, **flags)


def _sentence(selection: dict[str, Any]) -> str:
    text = f"leaf {selection['leaf']}, {selection['arch']}"
    if selection["regret"] is None:
        return text
    return (
        f"{text}, ground truth {selection['ground_truth']:.2f} % ({selection['regret']:.2f} points are lost to leaf "
        f"{selection['best_leaf']})"
    )


def _suits_one_network(callback: Callback) -> bool:
    return isinstance(callback, RunCheckpoint) or not type(callback).__module__.startswith("lightning_nas.")


def _with_metrics_file(logger: Logger | Iterable[Logger] | bool | None, root: str) -> list[Logger] | bool:
    """The loggers given, which learn of the run directory, and ``metrics.csv`` where none but False was asked for."""
    if logger is False:
        return False
    given = (
        [] if logger is None or logger is True else [logger] if isinstance(logger, Logger) else list(logger)
    )
    for one in given:
        if isinstance(one, WandbRun):
            one.enter(root)
    if any(isinstance(one, MetricsFile) for one in given):
        return given
    return [*given, MetricsFile(root)]
