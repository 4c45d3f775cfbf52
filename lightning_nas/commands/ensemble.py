"""``lightning-nas ensemble``: the average of several checkpoints of a run."""

from pathlib import Path

from lightning_nas.errors import NASError
from lightning_nas.optim import weight_ensemble


def ensemble(files: list[Path], *, out: Path) -> None:
    """Average the weights of several checkpoints of one run, in any order.

    The result can be scored like any checkpoint. Where batch-norm has running statistics, recalibrate them
    (--ranking.recalibrate).

    Args:
        files: Two or more checkpoints: in front of all options, with spaces between them.
        out: The checkpoint to write.

    Raises:
        NASError: A checkpoint is missing, damaged or of another run, or the file to write exists.
    """
    if out.exists():
        raise NASError(f"out is {str(out)!r}, which exists: choose another file")
    weight_ensemble.write(weight_ensemble.average(files), out)
    print(f"{out}: the average of {len(files)} checkpoints")
