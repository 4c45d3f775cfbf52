"""Sampling of networks instead of paths."""

from collections.abc import Hashable
from typing import Literal

import numpy as np
from lightning import LightningModule, Trainer

from lightning_nas.errors import NASError
from lightning_nas.evaluation.selection import ENUMERABLE
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.base import PathSampler, require_paths
from lightning_nas.spaces import Path, SearchSpace


class DeisomorphicSampler(PathSampler):
    """Every class of isomorphic paths is equally likely, however many paths it has.

    Ning et al., Evaluating Efficient Performance Estimators of Neural Architectures, NeurIPS 2021, Sec. 6.2 and
    Appendix A.3.3. The weights that isomorphic paths share are else trained towards the networks of which there are
    many. Two ways are given there: a table of all classes, or, where the space is too large for it::

        propose a uniform path a
        accept it if no isomorphic path was met before, and remember it as the representative of its class
        accept it too if it is the representative of its class; otherwise propose again

    The lazy way draws from classes uniformly once all are known. Until then a class is found the sooner the more
    paths it has, and while nearly every proposal is new, it samples paths uniformly.

    Args:
        mode: ``uniform``: a class from the table, then one of its paths. ``representative``: a class from the table,
            then always its first path, like the released code. It leaves out choices: in NAS-Bench-201 with the
            published classes the first edge is then ``none`` with probability .016 and a skip with .109, instead of
            .2, so ``uniform`` is the default. ``lazy``: without a table, for spaces that cannot be enumerated.
        iso_key: Which paths are isomorphic. ``canonical``: those that are one network when trained alone.
            ``published``: those with the same ``SearchSpace.published_key``; in NAS-Bench-201 the paper's 6,466
            classes, which tear 623 exact ones apart.
        tries: Proposals in lazy mode, at least 1. If none is accepted, the representative of the last one's class is
            trained. The released code gives up after 10, which in NAS-Bench-201 would be 2 % of the draws, and
            trains a path less.
        paths: Paths per step, all trained on the same batch, at least 1.
        seed: Seed of the choices; None takes the one of ``seed_everything``.

    Attributes:
        representatives: The first path of every class that was met, in lazy mode.
        proposals: Paths proposed in this run, in lazy mode.
        accepted: How many of them were accepted.
    """

    options = ("mode", "iso_key", "tries", "paths")
    state = ("representatives", "proposals", "accepted")

    def __init__(
        self,
        mode: Literal["uniform", "representative", "lazy"] = "uniform",
        iso_key: Literal["canonical", "published"] = "canonical",
        tries: int = 100,
        paths: int = 1,
        seed: int | None = None,
    ) -> None:
        if tries < 1:
            raise NASError(f"sampler.tries is {tries}: a path takes at least one proposal")
        require_paths(paths)
        self.mode: Literal["uniform", "representative", "lazy"] = mode
        self.iso_key: Literal["canonical", "published"] = iso_key
        self.tries = tries
        self.paths = paths
        super().__init__(seed)

    def begin(self) -> None:
        """No class is known yet."""
        self.representatives: list[Path] = []
        self.proposals = 0
        self.accepted = 0
        self._known: dict[Hashable, Path] = {}
        self._classes: list[list[Path]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds the classes of a continued run again.

        Raises:
            NASError: A table is asked for, but the space cannot be enumerated.
        """
        assert isinstance(pl_module, SupernetModule)
        space = pl_module.space
        if self.mode != "lazy" and space.size > ENUMERABLE:
            raise NASError(
                f"sampler.mode is {self.mode!r}, but the space has {space.size:.3g} paths, and a table of classes takes "
                f"at most {ENUMERABLE}: valid is 'lazy'"
            )
        # A checkpoint holds no keys: they may be of any type.
        self._known = {self._key(space, path): path for path in self.representatives}

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """``paths`` draws."""
        if self.mode == "lazy":
            return self._lazy(trainer, module.space, step)
        self._classes = self._classes or self._table(module.space)
        rng = generator(self.seed, Stream.PATH, step)
        drawn = [self._classes[number] for number in rng.integers(len(self._classes), size=self.paths)]
        if self.mode == "representative":
            return tuple(members[0] for members in drawn)
        return tuple(members[rng.integers(len(members))] for members in drawn)

    def _table(self, space: SearchSpace) -> list[list[Path]]:
        """The paths of every class."""
        classes: dict[Hashable, list[Path]] = {}
        for path in space:
            classes.setdefault(self._key(space, path), []).append(path)
        return list(classes.values())

    def _lazy(self, trainer: Trainer, space: SearchSpace, step: int) -> tuple[Path, ...]:
        before = self.proposals
        rng = generator(self.seed, Stream.PATH, step)
        paths = tuple(self._propose(space, rng) for _ in range(self.paths))
        metrics = {
            "sampler/tries": (self.proposals - before) / self.paths,
            "sampler/accept_rate": self.accepted / self.proposals,
            "sampler/classes": len(self.representatives),
        }
        self.log_metrics(trainer, metrics)
        return paths

    def _propose(self, space: SearchSpace, rng: np.random.Generator) -> Path:
        """The first path that is accepted."""
        for _ in range(self.tries):
            path = space.sample(rng)
            self.proposals += 1
            representative = self._known.setdefault(self._key(space, path), path)
            if len(self._known) > len(self.representatives):
                self.representatives.append(path)
            if path == representative:
                self.accepted += 1
                return path
        return representative

    def _key(self, space: SearchSpace, path: Path) -> Hashable:
        return space.canonical(path) if self.iso_key == "canonical" else space.published_key(path)
