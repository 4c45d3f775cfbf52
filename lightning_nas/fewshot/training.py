"""The supernets of the leaves, trained one after the other, and which of them are trained to the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lightning_nas import checkpoint
from lightning_nas.data import ImageDataModule
from lightning_nas.errors import NASError
from lightning_nas.fewshot.folder import Leaves
from lightning_nas.fewshot.selection import Halving, last_scores
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator, torch_seeded

MakeTrainer = Callable[[Path, Sequence[Callback]], Trainer]
"""Makes the trainer of one leaf from its run directory and the callbacks that it needs."""


@dataclass(frozen=True)
class FewShot:
    """What is trained, and how.

    Attributes:
        module: Names the space, the optimizer and the schedule.
        data: Trains and validates.
        leaves: The parts of the space.
        root: Where the run directories of the leaves are.
        inherit: Checkpoint of the one-shot supernet whose weights the leaves begin with; None for fresh ones.
        seed: Of fresh weights.
        make_trainer: Makes the trainer of a leaf.
    """

    module: SupernetModule
    data: ImageDataModule
    leaves: Leaves
    root: Path
    inherit: Path | None
    seed: int
    make_trainer: MakeTrainer

    def supernet(self, leaf: int) -> SupernetModule:
        """The supernet of a leaf before it is trained: that of the seed and the leaf, or the inherited one.

        Raises:
            NASError: The checkpoint holds no supernet of the space with the same batch-norm.
        """
        with torch_seeded(int(generator(self.seed, Stream.LEAF, leaf).integers(2**31))):
            module = self.module.of_part(self.leaves.parts[leaf])
        if self.inherit is not None:
            checkpoint.load_weights(module.supernet, self.module.space, self.inherit)
        return module

    def train(self, leaf: int, until: int | None = None) -> None:
        """Trains a leaf, from where it was interrupted if it was.

        Args:
            leaf: Which.
            until: The epoch after which it pauses; None trains to the end.
        """
        folder = self.leaves.folder(self.root, leaf)
        last = folder / "last.ckpt"
        pause = [] if until is None else [Pause(until)]
        rank_zero_info(f"Leaf {leaf} of {len(self.leaves.parts)}: {folder}")
        trainer = self.make_trainer(folder, pause)
        trainer.fit(self.supernet(leaf), datamodule=self.data, ckpt_path=last if last.is_file() else None)
        trainer.strategy.barrier()  # what the first process writes is there for all

    def train_all(self, halving: Halving) -> list[int]:
        """Trains all leaves, and where that is asked only the best of them to the end.

        Returns:
            The leaves that were trained to the end.

        Raises:
            NASError: A leaf was not validated before others were to be left out.
        """
        left = list(range(len(self.leaves.parts)))
        for rung in halving:
            for leaf in left:
                self.train(leaf, rung.epoch)
            scores = {
                leaf: last_scores(self.leaves.folder(self.root, leaf), rung.epoch).mean for leaf in left
            }
            left = rung.survivors(scores)
            rank_zero_info(f"After epoch {rung.epoch}: leaves {', '.join(map(str, left))} go on")
        for leaf in left:
            self.train(leaf)
        return left

    def require_trained(self) -> None:
        """Refuses to score what is not trained.

        Raises:
            NASError: A leaf has no checkpoint.
        """
        for leaf in range(len(self.leaves.parts)):
            folder = self.leaves.folder(self.root, leaf)
            if not (folder / "last.ckpt").is_file():
                raise NASError(f"leaf {leaf} is not trained: there is no {folder / 'last.ckpt'}")


class Pause(Callback):
    """Ends a training after an epoch as if it had been interrupted there: a later one continues it.

    Args:
        epoch: Its number, from 1.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Trains nothing where the epoch is over."""
        trainer.should_stop |= trainer.current_epoch >= self.epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Trains no further."""
        trainer.should_stop |= trainer.current_epoch + 1 >= self.epoch
