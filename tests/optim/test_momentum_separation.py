import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, Trainer
from scipy.stats import chisquare
from short_runs import Record
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.momentum_separation import MomentumSeparation, MomentumSeparationSGD
from lightning_nas.samplers import FairSampler, PathSampler, UniformSampler
from lightning_nas.spaces import NASBench201, Pooling, RestrictedSpace, SearchSpace

TRAINER = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=True)
BARE: dict[str, Any] = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}
OPTIONS: dict[str, Any] = {"lr": 0.2, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}


def separated(params: Any) -> MomentumSeparationSGD:
    return MomentumSeparationSGD(params, **OPTIONS)


def step(optimizer: Optimizer, parameter: nn.Parameter, gradient: float) -> float:
    parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()
    return round(parameter.item(), 6)


# ------------------------------------------------------------------------------------------ the optimizer


def test_published_updates() -> None:
    """Two clusters in turn, whose gradients point in opposite directions."""
    parameter = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    optimizer = MomentumSeparationSGD([parameter], lr=0.1, momentum=0.9, nesterov=True)
    found = []
    for number, gradient in enumerate((1.0, -1.0, 1.0, -1.0)):
        optimizer.cluster = number % 2
        found.append(step(optimizer, parameter, gradient))
    assert found == [0.81, 1.0, 0.729, 1.0]
    buffers = optimizer.state[parameter]["momentum_buffers"]
    assert {cluster: float(buffer) for cluster, buffer in buffers.items()} == pytest.approx({0: 1.9, 1: -1.9})


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "momentum": 0.9},
        OPTIONS,
        {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.0},
    ],
)
def test_one_cluster_is_plain_sgd(options: dict[str, Any], foreach: bool) -> None:
    """To the last bit, also where weights have no gradient, or have one late."""
    rng = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=rng) for shape in [(5, 3), (7,), (2, 2, 2), ()]]
    ours, plain = ([nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    optimizers = MomentumSeparationSGD(ours, **options), SGD(plain, **options, foreach=foreach)
    for _ in range(100):
        for one, other in zip(ours, plain, strict=True):
            gradient = torch.randn(one.shape, generator=rng)
            used = torch.rand((), generator=rng) < 0.6
            one.grad, other.grad = (gradient.clone() if used else None for _ in range(2))
        for optimizer in optimizers:
            optimizer.step()
        for one, other in zip(ours, plain, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("inactive_params", ["skip", "coast"])
def test_a_supernet_with_one_cluster_is_trained_as_by_plain_sgd(tmp_path: Path, inactive_params: Any) -> None:
    def trained(optimizer: Any, *callbacks: Callback) -> dict[str, Tensor]:
        module = short_runs.supernet_module(optimizer=optimizer, inactive_params=inactive_params)
        trainer = short_runs.trainer(tmp_path, UniformSampler(), *callbacks, **BARE)
        trainer.fit(module, datamodule=short_runs.digits())
        return module.state_dict()

    plain = trained(lambda params: SGD(params, **OPTIONS))
    short_runs.assert_same(trained(separated), plain)
    short_runs.assert_same(trained(separated, MomentumSeparation(random_clusters=1)), plain)
    clusters = trained(separated, MomentumSeparation())
    assert any(not torch.equal(clusters[name], plain[name]) for name in plain)


def test_gradients_and_other_buffers_are_left_alone() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = separated([parameter])
    step_of_cluster(optimizer, parameter, 0)
    kept = optimizer.state[parameter]["momentum_buffers"][0].clone()
    step_of_cluster(optimizer, parameter, 1)
    assert torch.equal(optimizer.state[parameter]["momentum_buffers"][0], kept)
    assert parameter.grad is not None
    assert torch.equal(parameter.grad, torch.full((3,), 2.0))


def step_of_cluster(optimizer: MomentumSeparationSGD, parameter: nn.Parameter, cluster: int) -> None:
    optimizer.cluster = cluster
    parameter.grad = torch.full_like(parameter, 2.0)
    optimizer.step()


def test_a_closure_is_called_with_gradients() -> None:
    parameter = nn.Parameter(torch.ones(1))
    optimizer = MomentumSeparationSGD([parameter], lr=0.5)

    def closure() -> Tensor:
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1.0
    assert parameter.item() == 0.0


# -------------------------------------------------------------------------------- against the definition


def slowly_trained(record: Record, decisions: tuple[int, ...]) -> SupernetModule:
    """Eq. 7 and 8 written out, weight by weight."""
    module = short_runs.supernet_module().double()
    module.load_state_dict(record.start)
    buffers: dict[Any, Tensor] = {}
    for (images, labels, _), paths in record.steps:
        module.zero_grad()
        losses = [F.cross_entropy(module(images, path), labels) for path in paths]
        torch.stack(losses).mean().backward()
        [cluster] = {tuple(path[decision] for decision in decisions) for path in paths}
        with torch.no_grad():
            for name, p in module.named_parameters():
                if p.grad is None:
                    continue
                g = p.grad + 0.01 * p
                key = cluster, name
                buffers[key] = 0.9 * buffers[key] + g if key in buffers else g
                p.sub_(0.2 * (g + 0.9 * buffers[key]))
    return module


@pytest.mark.parametrize(
    ("sampler", "decisions"),
    [(UniformSampler(), (1,)), (UniformSampler(), (1, 0)), (FairSampler(same_choice_at=1), (1,))],
    ids=["one decision", "two decisions", "several paths"],
)
def test_a_run_equals_the_definition_written_out(
    tmp_path: Path, sampler: PathSampler, decisions: tuple[int, ...]
) -> None:
    module, record = short_runs.supernet_module(optimizer=separated, schedule="constant"), Record()
    flags = {**BARE, "max_epochs": 50, "precision": "64-true"}
    callbacks = MomentumSeparation(decisions), record, sampler
    short_runs.trainer(tmp_path, *callbacks, **flags).fit(module, datamodule=short_runs.digits())
    assert len(record.steps) == 200
    expected = slowly_trained(record, decisions).state_dict()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-10)


# --------------------------------------------------------------------------------------------- clusters


def clusters_of(separation: MomentumSeparation, space: SearchSpace) -> MomentumSeparation:
    module = SupernetModule(short_runs.SMALL)
    module.space = space
    separation.setup(TRAINER, module, "fit")
    return separation


def test_decisions_are_those_with_a_choice() -> None:
    space = RestrictedSpace(NASBench201(), ((3,), (1, 2), (0, 4), (0,), (1, 3), (2,)))
    found = {name: clusters_of(MomentumSeparation(name), space).separated_by for name in ("first", "last")}
    assert found == {"first": (1,), "last": (4,)}
    drawn = [clusters_of(MomentumSeparation("random", seed=seed), space).separated_by for seed in range(150)]
    counted = Counter(drawn)
    assert counted.keys() == {(1,), (2,), (4,)}
    assert chisquare(list(counted.values())).pvalue > 1e-3
    again = [clusters_of(MomentumSeparation("random", seed=seed), space).separated_by for seed in range(150)]
    assert drawn == again


def test_paths_with_the_same_choices_share_a_cluster() -> None:
    space = NASBench201()
    separation = clusters_of(MomentumSeparation((2, 5)), space)
    clusters = {path: separation.cluster(space, path) for path in space}
    assert len(set(clusters.values())) == 25
    by_choices = {(path[2], path[5]): cluster for path, cluster in clusters.items()}
    assert all(by_choices[path[2], path[5]] == cluster for path, cluster in clusters.items())


def test_random_clusters_are_even_and_fixed() -> None:
    space = NASBench201()
    separation = clusters_of(MomentumSeparation(random_clusters=5, seed=1), space)
    paths = random.Random(0).sample(list(space), 3000)
    clusters = [separation.cluster(space, path) for path in paths]
    assert clusters == [separation.cluster(space, path) for path in paths]
    assert chisquare(list(Counter(clusters).values())).pvalue > 1e-3
    assert set(clusters) == {0, 1, 2, 3, 4}
    # It has nothing to do with what a path chooses.
    table = Counter((path[0], cluster) for path, cluster in zip(paths, clusters, strict=True))
    assert chisquare([table[pair] for pair in sorted(table)]).pvalue > 1e-3


def test_a_choice_has_no_momentum_in_the_clusters_of_others(tmp_path: Path) -> None:
    module = short_runs.supernet_module(optimizer=separated)
    trainer = short_runs.trainer(tmp_path, UniformSampler(), MomentumSeparation(), **BARE)
    trainer.fit(module, datamodule=short_runs.digits())
    state = trainer.optimizers[0].state
    for choice in (1, 2):
        for owned in module.supernet.choice_parameters(0, choice):
            assert set(state[owned.parameter]["momentum_buffers"]) == {choice}
    assert set(state[next(module.parameters())]["momentum_buffers"]) == {0, 1, 2}


# ------------------------------------------------------------------------------------------ checkpoints


def plain_state(optimizer: Any = SGD, **options: Any) -> dict[str, Any]:
    parameters = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]
    plain = optimizer(parameters, lr=0.1, **options)
    parameters[0].grad = torch.full((3,), 2.0)
    plain.step()
    return dict(plain.state_dict())


def continued(state: dict[str, Any], **options: Any) -> tuple[MomentumSeparationSGD, nn.Parameter]:
    parameters = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]
    optimizer = MomentumSeparationSGD(parameters, lr=0.1, **options)
    optimizer.load_state_dict(state)
    return optimizer, parameters[0]


def test_momentum_that_is_not_separated() -> None:
    state = plain_state(momentum=0.9)
    with pytest.raises(
        NASError, match=r"optimizer\.plain_checkpoint says how to continue, 'empty' or 'copy'"
    ):
        continued(state)
    optimizer, parameter = continued(state, plain_checkpoint="empty")
    step_of_cluster(optimizer, parameter, 3)
    assert torch.equal(optimizer.state[parameter]["momentum_buffers"][3], torch.full((3,), 2.0))
    optimizer, parameter = continued(state, plain_checkpoint="copy")
    step_of_cluster(optimizer, parameter, 3)
    # Saved and loaded on the way: no copy is lost.
    optimizer, parameter = continued(optimizer.state_dict())
    step_of_cluster(optimizer, parameter, 3)
    step_of_cluster(optimizer, parameter, 4)
    buffers = optimizer.state[parameter]["momentum_buffers"]
    assert float(buffers[3][0]) == pytest.approx(0.9 * (0.9 * 2 + 2) + 2)
    assert float(buffers[4][0]) == pytest.approx(0.9 * 2 + 2)


def test_no_momentum_and_other_optimizers() -> None:
    optimizer, parameter = continued(plain_state(momentum=0.0))
    step_of_cluster(optimizer, parameter, 0)
    with pytest.raises(NASError, match="optimizer has exp_avg for every weight"):
        continued(plain_state(Adam))


def test_other_clusters_are_not_continued(tmp_path: Path) -> None:
    def fit(*resume: Path, **options: Any) -> None:
        module = short_runs.supernet_module(optimizer=separated)
        short_runs.fit(
            tmp_path,
            UniformSampler,
            MomentumSeparation(**options),
            module=module,
            resume_from=resume[0] if resume else None,
        )

    fit(decisions=(1,))
    last = tmp_path / "07.ckpt"
    with pytest.raises(NASError, match=r"MomentumSeparation\.separated_by \(1,\), but now it is \(0,\)"):
        fit(last)
    with pytest.raises(NASError, match=r"MomentumSeparation\.separated_by \(1,\), but now it is \(\)"):
        fit(last, random_clusters=2)
    # The same decision under another name.
    fit(last, decisions="last")


# --------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, "optimizer.lr is -0.1"),
        ({"momentum": 1.0}, "optimizer.momentum is 1.0"),
        ({"weight_decay": -1.0}, "optimizer.weight_decay is -1.0"),
        ({"momentum": 0.0, "nesterov": True}, "nothing to look ahead by"),
    ],
)
def test_wrong_options_of_the_optimizer(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        MomentumSeparationSGD([nn.Parameter(torch.ones(1))], **options)


@pytest.mark.parametrize("decisions", [(), (0, 0), (0, 1, 2, 3, 4)])
def test_wrong_decisions(decisions: tuple[int, ...]) -> None:
    with pytest.raises(NASError, match="valid are one to four different decisions"):
        MomentumSeparation(decisions)


def test_decisions_that_the_space_does_not_have() -> None:
    with pytest.raises(NASError, match=r"random_clusters is 0"):
        MomentumSeparation(random_clusters=0)
    space = RestrictedSpace(short_runs.SMALL, ((1,), (0, 1)))
    for decision in (0, 2, -1):
        with pytest.raises(
            NASError, match=rf"decisions has {decision}, where model\.space has no choice: valid are \[1\]"
        ):
            clusters_of(MomentumSeparation((decision,)), space)
    with pytest.raises(NASError, match=r"model\.space has one path"):
        clusters_of(MomentumSeparation(), RestrictedSpace(Pooling(), ((3,),)))


@pytest.mark.parametrize(
    ("optimizer", "sampler", "flags", "message"),
    [
        (lambda params: SGD(params, lr=0.1), UniformSampler(), {}, "but model.optimizer is SGD"),
        (separated, UniformSampler(), {"accumulate_grad_batches": 2}, "accumulate_grad_batches is 2"),
        (separated, FairSampler(), {}, r"are of 3 clusters: .* sampler\.same_choice_at"),
    ],
    ids=["optimizer", "accumulate", "paths"],
)
def test_runs_that_cannot_be_separated(
    tmp_path: Path, optimizer: Any, sampler: PathSampler, flags: dict[str, Any], message: str
) -> None:
    module = short_runs.supernet_module(optimizer=optimizer)
    trainer = short_runs.trainer(tmp_path, sampler, MomentumSeparation(), **BARE, **flags)
    with pytest.raises(NASError, match=message):
        trainer.fit(module, datamodule=short_runs.digits())
    assert trainer.global_step == 0
