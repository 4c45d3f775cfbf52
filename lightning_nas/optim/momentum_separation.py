"""Separate momentum for clusters of similar paths.

Jeon et al., Subnet-Aware Dynamic Supernet Training for Neural Architecture Search, CVPR 2025, Sec. 3.2.2. The gradients of
unlike paths blur a momentum that they share. Paths with the same choice at one decision are alike, so they form a cluster
(Eq. 7), and each cluster has a momentum of its own (Eq. 8). The weights remain shared.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule, require_supernet
from lightning_nas.random import Stream, generator, resolve_seed
from lightning_nas.spaces import Path, SearchSpace

Tensors = list[Tensor] | tuple[Tensor, ...]

PLAIN = -1
"""The buffer of a run that was not separated, with which every cluster begins."""


class MomentumSeparationSGD(Optimizer):
    """SGD with a momentum buffer per cluster.

    A step of cluster k updates every weight that has a gradient, also those that all paths share::

        g = gradient + weight_decay * p
        buffer[k] = g  at first, then  momentum * buffer[k] + g
        p = p - lr * (g + momentum * buffer[k]  if nesterov else  buffer[k])

    The buffers of other clusters rest. Without the callback ``MomentumSeparation``, which names the cluster of every
    step, there is one cluster, and this is ``torch.optim.SGD`` to the last bit.

    Args:
        params: What is trained: tensors, or parameter groups.
        lr: Learning rate.
        momentum: Of the past, in [0, 1).
        weight_decay: Added to the gradient, in proportion to the weight.
        nesterov: Look ahead, as the released code does; the paper says nothing of it, nor does torch by default.
        plain_checkpoint: How to continue the checkpoint of ``torch.optim.SGD``, which has one buffer per weight:
            ``refuse``, begin every cluster ``empty``, or with a ``copy``.

    Attributes:
        cluster: That of the next step, a number from 0.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        plain_checkpoint: Literal["refuse", "empty", "copy"] = "refuse",
    ) -> None:
        if lr < 0:
            raise NASError(f"optimizer.lr is {lr}: valid are numbers from 0")
        if not 0 <= momentum < 1:
            raise NASError(f"optimizer.momentum is {momentum}: valid are numbers from 0 to below 1")
        if weight_decay < 0:
            raise NASError(f"optimizer.weight_decay is {weight_decay}: valid are numbers from 0")
        if nesterov and not momentum:
            raise NASError(
                "optimizer.nesterov is True, but optimizer.momentum is 0: there is nothing to look ahead by"
            )
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, options)
        self.cluster = 0
        self._plain_checkpoint = plain_checkpoint

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the weights once.

        Args:
            closure: Computes the gradients anew.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        directions: Tensors = [p.grad for p in params]
        if group["weight_decay"]:
            directions = torch._foreach_add(directions, params, alpha=group["weight_decay"])
        if momentum := group["momentum"]:
            buffers = self._accumulate(params, directions, momentum)
            directions = (
                torch._foreach_add(directions, buffers, alpha=momentum) if group["nesterov"] else buffers
            )
        torch._foreach_add_(params, directions, alpha=-group["lr"])

    def _accumulate(self, params: list[nn.Parameter], gradients: Tensors, momentum: float) -> list[Tensor]:
        """The buffers of the cluster, with these gradients in them."""
        buffers, begun, added = [], [], []
        for parameter, gradient in zip(params, gradients, strict=True):
            of_clusters = self.state[parameter].setdefault("momentum_buffers", {})
            if self.cluster not in of_clusters and PLAIN in of_clusters:
                of_clusters[self.cluster] = of_clusters[PLAIN].clone()
            if self.cluster in of_clusters:
                begun.append(of_clusters[self.cluster])
                added.append(gradient)
            else:
                of_clusters[self.cluster] = gradient.clone()
            buffers.append(of_clusters[self.cluster])
        if begun:
            torch._foreach_mul_(begun, momentum)
            torch._foreach_add_(begun, added)
        return buffers

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues the buffers.

        Raises:
            NASError: They are those of another optimizer.
        """
        states = {number: self._separated(state) for number, state in state_dict["state"].items()}
        super().load_state_dict({**state_dict, "state": states})

    def _separated(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state of a weight, where need be from that of plain SGD."""
        if "momentum_buffers" in state:
            return state
        if strange := state.keys() - {"momentum_buffer"}:
            raise NASError(
                f"the checkpoint's optimizer has {min(strange)} for every weight: MomentumSeparationSGD continues its own "
                "checkpoints, and those of torch.optim.SGD"
            )
        buffer = state.get("momentum_buffer")
        if buffer is None:
            return {}
        if self._plain_checkpoint == "refuse":
            raise NASError(
                "the checkpoint was trained with a momentum that is not separated: optimizer.plain_checkpoint says how to "
                "continue, 'empty' or 'copy'"
            )
        return {"momentum_buffers": {PLAIN: buffer} if self._plain_checkpoint == "copy" else {}}


class MomentumSeparation(Callback):
    """Tells MomentumSeparationSGD the cluster of every step.

    It is read from the paths that were trained, right before the optimizer steps. All paths of a step must be of one
    cluster; ``FairSampler`` has an option for that, ``same_choice_at``.

    Args:
        decisions: The decisions whose choices tell clusters apart: the ``first`` that has more than one choice (in the paper
            for spaces of layers), the ``last``, a ``random`` one that is drawn once (in the paper for
            NAS-Bench-201), or a list of up to four. Two were about as good as one, more were worse (Table 6). Every cluster
            takes the memory of another momentum.
        random_clusters: Divide the paths into so many clusters at random instead, the paper's counter-proof, which
            gained nothing (Table 5).
        seed: Seed of what is random; None takes the one of ``seed_everything``.

    Attributes:
        separated_by: The decisions in force, by number; none where clusters are random.
    """

    def __init__(
        self,
        decisions: Literal["first", "last", "random"] | tuple[int, ...] = "first",
        random_clusters: int | None = None,
        seed: int | None = None,
    ) -> None:
        if not isinstance(decisions, str) and not (
            1 <= len(decisions) <= 4 and len(set(decisions)) == len(decisions)
        ):
            raise NASError(
                f"MomentumSeparation.decisions is {list(decisions)}: valid are one to four different decisions, 'first', "
                "'last' and 'random'"
            )
        if random_clusters is not None and random_clusters < 1:
            raise NASError(
                f"MomentumSeparation.random_clusters is {random_clusters}: valid are numbers from 1"
            )
        self.decisions = decisions
        self.random_clusters = random_clusters
        self._given_seed = seed
        self.seed = resolve_seed(seed)
        self.separated_by: tuple[int, ...] = ()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Finds the decisions, also to score: Lightning restores the callbacks of a checkpoint for every verb.

        Raises:
            NASError: The space has no such decision, or it has one choice.
        """
        space = require_supernet(self, pl_module).space
        self.seed = resolve_seed(self._given_seed)
        self.separated_by = () if self.random_clusters else self._decisions_of(space)

    def _decisions_of(self, space: SearchSpace) -> tuple[int, ...]:
        free = [decision for decision, choices in enumerate(space.choices) if len(choices) > 1]
        if isinstance(self.decisions, str):
            if not free:
                raise NASError(
                    "MomentumSeparation needs a decision with several choices: model.space has one path"
                )
            drawn = int(generator(self.seed, Stream.CLUSTER).integers(len(free)))
            return (free[{"first": 0, "last": -1, "random": drawn}[self.decisions]],)
        if fixed := set(self.decisions) - set(free):
            raise NASError(
                f"MomentumSeparation.decisions has {min(fixed)}, where model.space has no choice: valid are {free}"
            )
        return tuple(self.decisions)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses what cannot be separated.

        Raises:
            NASError: Another optimizer, or steps of several batches.
        """
        [optimizer] = trainer.optimizers
        if not isinstance(optimizer, MomentumSeparationSGD):
            raise NASError(
                f"MomentumSeparation is in trainer.callbacks, but model.optimizer is {type(optimizer).__name__}: valid is "
                "lightning_nas.optim.momentum_separation.MomentumSeparationSGD"
            )
        if trainer.accumulate_grad_batches > 1:
            raise NASError(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}: MomentumSeparation needs 1, because "
                "the paths of several batches are of several clusters"
            )

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Names the cluster.

        Raises:
            NASError: The paths of the step are of several.
        """
        assert isinstance(pl_module, SupernetModule)
        assert isinstance(optimizer, MomentumSeparationSGD)
        space = pl_module.space
        clusters = {self.cluster(space, path) for path in pl_module.paths}
        if len(clusters) > 1:
            where = f" {self.separated_by[0]}" if len(self.separated_by) == 1 else ""
            raise NASError(
                f"the {len(pl_module.paths)} paths of step {trainer.global_step} are of {len(clusters)} clusters: "
                f"MomentumSeparation needs a sampler of one path per step, or FairSampler with sampler.same_choice_at{where}"
            )
        [optimizer.cluster] = clusters

    def cluster(self, space: SearchSpace, path: Path) -> int:
        """The number of a path's cluster."""
        if self.random_clusters:
            return int(generator(self.seed, Stream.CLUSTER, *path).integers(self.random_clusters))
        number = 0
        for decision in self.separated_by:
            number = number * space.num_choices[decision] + path[decision]
        return number

    def state_dict(self) -> dict[str, Any]:
        """What tells the clusters apart."""
        return {"separated_by": self.separated_by, "random_clusters": self.random_clusters, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuses the buffers of other clusters.

        Raises:
            NASError: The run was separated otherwise.
        """
        now = self.state_dict()
        for name, before in state_dict.items():
            if now[name] != before:
                raise NASError(
                    f"the checkpoint was trained with MomentumSeparation.{name} {before}, but now it is {now[name]}: give "
                    "the same to continue it"
                )
