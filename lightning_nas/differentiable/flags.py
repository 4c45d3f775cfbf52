"""What the flags of a Trainer may say where architectures are learnt."""

from lightning import Trainer

from lightning_nas.errors import NASError

PRECISIONS = ("32-true", "64-true", "bf16-mixed")


def require_flags(trainer: Trainer) -> None:
    """Refuses flags that manual optimization with two optimizers cannot honour.

    Args:
        trainer: Of the run.

    Raises:
        NASError: One of them.
    """
    if trainer.accumulate_grad_batches != 1:
        raise NASError(
            f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}, but learn updates after every batch: give a "
            "larger data.batch_size instead"
        )
    if trainer.precision not in PRECISIONS:
        raise NASError(
            f"trainer.precision is {trainer.precision}, but learn has two optimizers and no gradient scaler: valid are "
            f"{', '.join(PRECISIONS)}"
        )
    if trainer.world_size > 1:
        raise NASError(
            f"trainer has {trainer.world_size} processes, but learn updates alphas in one: valid are trainer.devices 1 and "
            "trainer.num_nodes 1"
        )
    if trainer.max_epochs is None or trainer.max_epochs < 1:
        raise NASError(
            f"trainer.max_epochs is {trainer.max_epochs}, but learn counts in epochs: valid are numbers from 1"
        )
