"""Whether the gradients of different paths pull their shared weights the same way."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from lightning_nas import plots
from lightning_nas.density.gradient import path_gradient
from lightning_nas.density.representation import as_weights, batch_statistics
from lightning_nas.errors import NASError
from lightning_nas.loggers import log_figure, log_metrics
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.random import Stream, generator, resolve_seed
from lightning_nas.samplers.probe import draw_probe, probe_images, require_several
from lightning_nas.spaces import Path as Architecture
from lightning_nas.spaces import SearchSpace, Supernet

Pair = tuple[Architecture, Architecture]
COLUMNS = ("epoch", "arch", "other", "edit_distance", "similarity")
LAYER_COLUMNS = ("epoch", "weight", "pairs", "similarity")


class GradientSimilarity(Callback):
    """Compares the gradients of pairs of paths, always the same pairs on the same validation images.

    After Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures (NeurIPS 2021, App. A.3.1),
    who blame parameter sharing where gradients differ, and Jeon et al., Subnet-Aware Dynamic Supernet Training (CVPR
    2025, supplement C.6), who find similar paths to have similar gradients. They look at cells and at the first layer;
    here it is the cosine of the gradients in all weights that both paths use (see ``shared_gradients``), and that in every
    tensor of them.

    It logs the mean over the pairs as ``gradient/similarity`` and writes ``gradient_similarity.csv``: the pairs of every
    epoch that was looked at, with their edit distance, which is the number of decisions in which they differ (of
    ``Pooling``, whose paths are one decision, of blocks). In ``gradient_similarity_layers.csv`` are the means of every
    tensor over the pairs of which both have a gradient there. At the end of the run it draws the last of these
    epochs, ``gradient_similarity.png``.

    Args:
        pairs: How many; each takes the gradients of two paths.
        every_n_epochs: Epochs between two looks.
        probe_size: Validation images; at least 16, where the supernet has batch-norm.
        seed: Seed of images and pairs; None takes the one of ``seed_everything``.
    """

    def __init__(
        self, pairs: int = 50, every_n_epochs: int = 1, probe_size: int = 64, seed: int | None = None
    ) -> None:
        for name, value in {"pairs": pairs, "every_n_epochs": every_n_epochs}.items():
            if value < 1:
                raise NASError(f"GradientSimilarity.{name} is {value}: valid are numbers from 1")
        self.pairs = pairs
        self.every_n_epochs = every_n_epochs
        self.probe_size = probe_size
        self._given_seed = seed
        self._rows: list[tuple[Any, ...]] = []
        self._layer_rows: list[tuple[Any, ...]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forgets an earlier run.

        Raises:
            NASError: The module is no supernet, or its space has no two paths.
        """
        if stage != "fit":
            return
        require_several(require_supernet(self, pl_module).space, "GradientSimilarity")
        self._rows, self._layer_rows = [], []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws images and pairs."""
        assert isinstance(pl_module, SupernetModule)
        seed = resolve_seed(self._given_seed)
        key = "GradientSimilarity.probe_size"
        self._probe = draw_probe(trainer, pl_module, self.probe_size, seed, key)
        self._pairs = [draw_pair(pl_module.space, seed, number) for number in range(self.pairs)]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures, logs and writes, on rank 0."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, SupernetModule)
        supernet, space = pl_module.supernet, pl_module.space
        images, labels = as_weights(supernet, *probe_images(trainer, self._probe))
        similarities, of_layers = list[float](), defaultdict[str, list[float]](list)
        with batch_statistics(supernet):
            for pair in self._pairs:
                gradients = shared_gradients(supernet, pair, images, labels)
                similarities.append(cosine(gradients.values()))
                for weight, both in gradients.items():
                    if all(gradient.any() for gradient in both):
                        of_layers[weight].append(cosine([both]))
        for (path, other), similarity in zip(self._pairs, similarities, strict=True):
            distance = edit_distance(space, path, other)
            self._rows.append((epoch, space.encode(path), space.encode(other), distance, similarity))
        log_metrics(trainer, {"gradient/similarity": sum(similarities) / len(similarities)})
        table = dict(zip(COLUMNS, zip(*self._rows, strict=True), strict=True))
        plots.save_table(Path(trainer.default_root_dir) / "gradient_similarity.csv", table)
        self._layer_rows += [
            (epoch, weight, len(found), sum(found) / len(found))
            for weight, found in sorted(of_layers.items())
        ]
        table = dict(zip(LAYER_COLUMNS, zip(*self._layer_rows, strict=True), strict=True))
        plots.save_table(Path(trainer.default_root_dir) / "gradient_similarity_layers.csv", table)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws the last measurement."""
        if not self._rows or not trainer.is_global_zero:
            return
        epoch, *_ = self._rows[-1]
        _, _, _, distances, similarities = zip(*(row for row in self._rows if row[0] == epoch), strict=True)
        figure = plots.similarity_by_distance(distances, similarities, f"pairs of paths after epoch {epoch}")
        plots.save(figure, Path(trainer.default_root_dir) / "gradient_similarity.png")
        log_figure(trainer, "gradient/similarity_by_distance", figure)

    def state_dict(self) -> dict[str, Any]:
        """The rows of the tables."""
        return {"rows": self._rows, "layer_rows": self._layer_rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues the tables."""
        self._rows, self._layer_rows = state_dict["rows"], state_dict["layer_rows"]


def draw_pair(space: SearchSpace, seed: int, number: int) -> Pair:
    """Pair number ``number`` of two different paths: a uniform one, and a mutant of it.

    Two uniform paths would differ almost everywhere. So the probability with which decisions mutate is uniform too, and
    pairs of all edit distances come up.
    """
    rng = generator(seed, Stream.SUBSET, number)
    path = other = space.sample(rng)
    while other == path:
        other = space.mutate(path, rng, probability=rng.random())
    return path, other


def edit_distance(space: SearchSpace, path: Architecture, other: Architecture) -> int:
    """The number of symbols in which two paths differ."""
    return sum(a != b for a, b in zip(space.features(path), space.features(other), strict=True))


def shared_gradients(
    supernet: Supernet, pair: Pair, images: Tensor, labels: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """The gradients of two paths in the weights that both use, by name, flat and in double precision.

    Those are whole tensors: where choices are sizes, the gradient of the smaller one is 0 in the rest of a tensor.
    """
    used, used_too = ({id(parameter) for parameter in supernet.path_parameters(path)} for path in pair)
    both = used & used_too
    shared = {name: parameter for name, parameter in supernet.named_parameters() if id(parameter) in both}
    weights = list(shared.values())
    mine, theirs = (path_gradient(supernet, one, images, labels, weights) for one in pair)
    return {
        name: (a.flatten().double(), b.flatten().double())
        for name, a, b in zip(shared, mine, theirs, strict=True)
    }


def cosine(gradients: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Cosine of two gradients that are given in parts: in [-1, 1]; 0 where one vanishes."""
    mine, theirs = (torch.cat(parts) for parts in zip(*gradients, strict=True))
    return float(F.cosine_similarity(mine, theirs, dim=0))
