"""A training that begins with the weights of an earlier one, in a part of its space."""

from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from lightning_nas import checkpoint
from lightning_nas.errors import NASError
from lightning_nas.module import require_supernet


class InheritedWeights(Callback):
    """Begins a training with the weights of a supernet of the same space, or of a part of it.

    So the best paths of a supernet go on training alone (one-shot pruning: Ning et al., Evaluating Efficient Performance
    Estimators of Neural Architectures, NeurIPS 2021, Sec. 6.2). Optimizer, schedule and sampler begin anew. A run that is
    continued has its own weights.

    Args:
        supernet: Its checkpoint.
    """

    def __init__(self, supernet: str) -> None:
        self.supernet = supernet

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the weights.

        Raises:
            NASError: The file is no checkpoint of a supernet, or of one of another space, other data or another batch-norm.
        """
        module = require_supernet(self, pl_module)
        if trainer.ckpt_path is not None:
            return
        trained = checkpoint.load_supernet(Path(self.supernet))
        own = module.supernet
        for what, theirs, ours in (
            ("space", trained.space.whole.describe(), own.space.whole.describe()),
            ("batch-norm", vars(trained.norm), vars(own.norm)),
        ):
            if theirs != ours:
                raise NASError(
                    f"InheritedWeights.supernet is {self.supernet!r} with the {what} {theirs}, but here it is {ours}"
                )
        own.load_state_dict(trained.state_dict())
