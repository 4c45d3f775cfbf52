"""Strictly fair sampling."""

import math

from lightning import LightningModule, Trainer

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers.base import PathSampler, require_paths
from lightning_nas.spaces import Path, SearchSpace


class FairSampler(PathSampler):
    """Trains every choice of a decision equally often (Chu, Zhang and Xu, FairNAS, ICCV 2021, Algorithm 1).

    Every decision shuffles its choices and deals them out until none is left, then shuffles anew. So a step of as
    many paths as there are choices trains each of them exactly once::

        for every decision:  pi = a random permutation of its m choices
        train paths (pi_1[s], ..., pi_L[s]) for s = 1 ... m on one batch, add up their gradients, step once

    The paper has as many choices at every decision. Where their numbers differ, a step does not end with the
    shuffle of every decision; the counts of two choices of a decision still never differ by more than one. A
    choice that trains no weights, such as a skip, is dealt like any other.

    A space of one decision, such as ``Pooling``, deals its paths.

    Gradients are summed in the paper: ``model.grad_reduce: sum``, with gradients clipped.

    Args:
        paths: Paths per step, all trained on the same batch, at least 1; None takes the largest number of choices
            of a decision, or 1 in a space of one decision.
        same_choice_at: A decision, by number, at which all paths of a step take the same choice, dealt anew for every
            step; its choices are then fairly trained over time. For ``MomentumSeparation``, as in Jeon et al.,
            Subnet-Aware Dynamic Supernet Training (CVPR 2025), whose released code draws it at random.
        seed: Seed of the choices; None takes the one of ``seed_everything``.
    """

    options = ("paths", "same_choice_at")

    def __init__(
        self, paths: int | None = None, same_choice_at: int | None = None, seed: int | None = None
    ) -> None:
        if paths is not None:
            require_paths(paths)
        self.paths = paths
        self.same_choice_at = same_choice_at
        super().__init__(seed)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses spaces whose decisions depend on each other.

        Raises:
            NASError: Some combination of choices is no path, so choices cannot be dealt independently, or there is no
                decision ``same_choice_at``.
        """
        assert isinstance(pl_module, SupernetModule)
        space = pl_module.space
        if self.same_choice_at is not None and self.same_choice_at not in range(len(space.choices)):
            raise NASError(
                f"sampler.same_choice_at is {self.same_choice_at}: valid are decisions from 0 to {len(space.choices) - 1}"
            )
        if space.size < math.prod(map(len, space.choices)):
            *before, choice = _impossible_beginning(space)
            raise NASError(
                f"FairSampler combines all choices with each other, but in {type(space.whole).__name__} not all "
                f"combinations are paths: after {tuple(before)} decision {len(before)} cannot take choice {choice}; use "
                "another sampler, or a RestrictedSpace without such choices"
            )

    def choose(self, trainer: Trainer, module: SupernetModule, step: int) -> tuple[Path, ...]:
        """The next ``paths`` choices that every decision deals."""
        choices = module.space.choices
        varied = [len(kept) for decision, kept in enumerate(choices) if decision != self.same_choice_at]
        paths = self.paths or (max(varied) if len(choices) > 1 else 1)
        dealt = [
            self._dealt(decision, step, 1, kept) * paths
            if decision == self.same_choice_at
            else self._dealt(decision, step * paths, paths, kept)
            for decision, kept in enumerate(choices)
        ]
        return tuple(zip(*dealt, strict=True))

    def _dealt(self, decision: int, first: int, number: int, choices: tuple[int, ...]) -> list[int]:
        """Choices number ``first`` to ``first + number - 1`` that a decision deals in the course of the run."""
        shuffle, position = divmod(first, len(choices))
        dealt: list[int] = []
        while len(dealt) < position + number:
            dealt += generator(self.seed, Stream.BAG, decision, shuffle).permutation(choices).tolist()
            shuffle += 1
        return dealt[position : position + number]


def _impossible_beginning(space: SearchSpace) -> Path:
    """The first choices of a combination that is no path, the last one being impossible after the others."""
    beginning: Path = ()
    while space.count(beginning):
        following = math.prod(map(len, space.choices[len(beginning) + 1 :]))
        longer = ((*beginning, choice) for choice in space.choices[len(beginning)])
        beginning = next(path for path in longer if space.count(path) < following)
    return beginning
