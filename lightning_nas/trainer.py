"""The Trainer of this framework: Lightning's, with verbs of its own."""

import sys
import warnings
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_info

from lightning_nas import checkpoint, groundtruth, provenance, retraining
from lightning_nas.callbacks.run_directory import record_provenance
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
from lightning_nas.errors import NASError
from lightning_nas.fewshot_trainer import FewShotTrainer
from lightning_nas.latency import LatencyTable
from lightning_nas.loggers import UNHEARD, quiet
from lightning_nas.module import SupernetModule
from lightning_nas.random import resolve_seed
from lightning_nas.ranking.reliability import reliability
from lightning_nas.search import Evolution, FeasibleSpace, Latency, Limits, Search, SearchAlgorithm, Shifting
from lightning_nas.search.scoring import Criterion
from lightning_nas.search.transfer import load_transferred
from lightning_nas.tricks import NO_TRICKS, Tricks


class NASTrainer(FewShotTrainer):
    """A trainer of supernets, whose methods are the verbs of the command line; see RunTrainer for its arguments."""

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
        provenance.record(root, "groundtruth", processes=workers)
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
        record_provenance(self, search.folder, "search")

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
