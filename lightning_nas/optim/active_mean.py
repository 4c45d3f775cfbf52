"""The mean gradient of every weight over the paths that used it."""

from collections import Counter
from collections.abc import Sequence

from torch.utils.hooks import RemovableHandle

from lightning_nas.spaces import Path, Supernet


class ActiveMean:
    """Turns the mean over all paths of a step into the mean over those that used a weight.

    From the released code of Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures, NeurIPS 2021. Hooks
    scale every gradient before it is added up, so accumulation, scaling and clipping see the final gradients.
    """

    def __init__(self) -> None:
        self._hooks: list[RemovableHandle] = []

    def begin(self, supernet: Supernet, paths: Sequence[Path]) -> None:
        """From now on gradients are those of a step of these paths, each weighed by one over their number."""
        # The hooks of a step that an error or an interrupt cut short are still there.
        self.end()
        uses = Counter(weight for path in paths for weight in supernet.path_parameters(path))
        for weight, count in uses.items():
            if count < len(paths):
                factor = len(paths) / count
                self._hooks.append(weight.register_hook(lambda grad, factor=factor: grad * factor))

    def end(self) -> None:
        """From now on gradients are what they are."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
