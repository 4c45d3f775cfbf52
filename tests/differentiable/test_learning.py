"""What a step updates, on a part of a space too, and that a resumed run is the same."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import short_runs
import torch
from learning_runs import CELLS, EACH, FAST, SPACE, STRATEGIES, learn, rows, state, vectors
from lightning import Callback, Trainer

from lightning_nas.differentiable import (
    DARTS,
    DSNAS,
    SNAS,
    Alphas,
    DifferentiableModule,
    LearningStrategy,
)
from lightning_nas.errors import NASError
from lightning_nas.spaces import (
    NormPolicy,
    RestrictedSpace,
)


@dataclass(frozen=True)
class Watched(DARTS):
    """Keeps what a step should update with what, and leaves NaN in every gradient before each step."""

    steps: ClassVar[list[dict[str, Any]]] = []

    def learn(self, module: DifferentiableModule) -> None:
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, torch.nan)
        before = [alpha.detach().clone() for alpha in module.alphas.vectors]
        expected = torch.autograd.grad(
            module.held_out_loss(module.alphas.probabilities()), module.alphas.vectors
        )
        super().learn(module)
        mixture = [vector.detach() for vector in module.alphas.probabilities()]
        self.steps.append(
            {
                "before": before,
                "expected": expected,
                "after": [alpha.detach().clone() for alpha in module.alphas.vectors],
                "alpha_gradients": [alpha.grad for alpha in module.alphas.vectors],
                "weight_gradients": [w.grad.clone() for w in module.weights if w.grad is not None],
                "mixture": mixture,
            }
        )


def test_neither_optimizer_sees_a_gradient_of_the_others_loss(tmp_path: Path) -> None:
    """In the released code of Ly-Manson et al. the alphas' step adds the gradient of the training loss."""
    Watched.steps.clear()
    learn(tmp_path, Watched())
    reference = [torch.zeros_like(alpha, requires_grad=True) for alpha in Watched.steps[0]["before"]]
    optimizer = FAST.build(reference)  # type: ignore[arg-type]
    for step in Watched.steps:
        for alpha, value, gradient in zip(reference, step["before"], step["expected"], strict=True):
            alpha.data.copy_(value)
            alpha.grad = gradient.clone()
        optimizer.step()
        for alpha, value in zip(reference, step["after"], strict=True):
            torch.testing.assert_close(alpha.detach(), value)
        assert step["alpha_gradients"] == [None] * 3
        assert all(gradient.isfinite().all() for gradient in step["weight_gradients"])
    assert len(Watched.steps) == 6


def test_a_strategy_of_one_batch_uses_all_training_images(tmp_path: Path) -> None:
    for strategy, batches in ((SNAS(), 4), (DARTS(), 2)):
        root = tmp_path / type(strategy).__name__
        learn(root, strategy, max_epochs=1)
        assert state(root)["global_step"] == batches


def test_only_the_gradient_of_the_weights_is_clipped(tmp_path: Path) -> None:
    start = learn_one_step(tmp_path / "free")
    clipped = learn_one_step(tmp_path / "clipped", gradient_clip_val=1e-9)
    untouched = short_runs.supernet_module(SPACE).supernet.state_dict()
    for name, value in untouched.items():
        torch.testing.assert_close(clipped["state_dict"][f"supernet.{name}"], value, rtol=0, atol=1e-8)
        assert not torch.equal(start["state_dict"][f"supernet.{name}"], value) or name.startswith("choices")
    short_runs.assert_same(vectors(clipped), vectors(start))


def learn_one_step(root: Path, **flags: Any) -> dict[str, Any]:
    learn(root, DARTS(), max_epochs=1, limit_train_batches=1, **flags)
    return state(root)


@pytest.mark.parametrize("schedule", ["cosine", "cosine_epochs"])
def test_the_rate_of_the_weights_follows_its_schedule_and_that_of_the_alphas_does_not(
    tmp_path: Path, schedule: str
) -> None:
    options = {"schedule": schedule, "final_lr": 0.01}
    learn(tmp_path, DARTS(), short_runs.EveryCheckpoint(every_n_train_steps=1), options=options)
    rates = [
        [o["param_groups"][0]["lr"] for o in state(tmp_path, f"{step:02d}.ckpt")["optimizer_states"]]
        for step in range(1, 7)
    ]
    share = [step / 6 if schedule == "cosine" else (step // 2) / 3 for step in range(1, 7)]
    expected = [0.01 + 0.09 * float(1 + torch.cos(torch.tensor(torch.pi * s))) / 2 for s in share]
    assert [weights for weights, _ in rates] == pytest.approx(expected, abs=1e-6)
    assert {alphas for _, alphas in rates} == {FAST.lr}


@EACH
def test_every_strategy_moves_weights_and_alphas(tmp_path: Path, strategy: LearningStrategy) -> None:
    learn(tmp_path, strategy, short_runs.EveryCheckpoint(every_n_train_steps=1), max_epochs=1)
    first, second = (state(tmp_path, f"0{step}.ckpt") for step in (1, 2))
    for a, b in zip(vectors(first), vectors(second), strict=True):
        assert b.isfinite().all()
        assert not torch.equal(a, b)
    name = "supernet.stem.1.weight"
    assert not torch.equal(first["state_dict"][name], second["state_dict"][name])


@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - {"darts2"}))
def test_mixed_precision_moves_weights_and_alphas(tmp_path: Path, name: str) -> None:
    """Autocast keeps copies of the weights, which must not be those of a pass without gradients."""
    flags: dict[str, Any] = {"precision": "bf16-mixed", "max_epochs": 1, "limit_train_batches": 1}
    learn(tmp_path, STRATEGIES[name], **flags)
    trained, fresh = state(tmp_path)["state_dict"], short_runs.supernet_module(SPACE).supernet.state_dict()
    for layer in ("stem.1.weight", "head.weight"):
        assert not torch.equal(trained[f"supernet.{layer}"], fresh[layer])
    assert all(vector.abs().max() > 0.05 for vector in vectors(state(tmp_path)))


PASSES = {
    "darts1": ["alphas", "weights"],
    "darts2": ["weights", "alphas", "weights", "weights", "weights"],
    "snas": ["weights"],
    "snas_held_out": ["alphas", "weights"],
    "dsnas": ["weights"],
    "leave_one_out": ["alphas"] * 3 + ["weights"] * 3,
    "gdas": ["alphas", "weights"],
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_weights_and_alphas_learn_from_their_own_images_in_the_order_of_the_method(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    noise: list[tuple[float, ...]] = []
    loss, gumbel = DifferentiableModule._loss, DifferentiableModule.gumbel

    def watched_loss(
        module: DifferentiableModule, title: str, batch: Any, mixture: Any, weights: Any
    ) -> torch.Tensor:
        half = {bool(index >= 100) for index in batch[2].tolist()}
        if module.strategy.needs_held_out:
            assert half == {title == "learn/loss"}
        passes.append("alphas" if title == "learn/loss" else "weights")
        if name.startswith("darts"):  # as they are now
            for share, alpha in zip(mixture, module.alphas.probabilities(), strict=True):
                assert torch.equal(share, alpha)
        return loss(module, title, batch, mixture, weights)

    def watched_noise(module: DifferentiableModule) -> list[torch.Tensor]:
        drawn = gumbel(module)
        noise.append(tuple(drawn[0].tolist()))
        return drawn

    monkeypatch.setattr(DifferentiableModule, "_loss", watched_loss)
    monkeypatch.setattr(DifferentiableModule, "gumbel", watched_noise)
    learn(tmp_path, STRATEGIES[name], max_epochs=1, limit_train_batches=2)
    assert passes == PASSES[name] * 2
    assert len(set(noise)) == len(noise) == (0 if name.startswith("darts") else len(passes))


@pytest.mark.parametrize("name", ["snas", "snas_held_out", "gdas"])
def test_samples_are_taken_at_the_temperature_of_the_epoch(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    perturbed = Alphas.perturbed

    def watched(alphas: Alphas, noise: Any, temperature: float) -> list[torch.Tensor]:
        seen.append(temperature)
        return perturbed(alphas, noise, temperature)

    monkeypatch.setattr(Alphas, "perturbed", watched)
    learn(tmp_path, STRATEGIES[name], limit_train_batches=1)
    expected = [STRATEGIES[name].temperature(epoch / 3) for epoch in range(3)]
    assert list(dict.fromkeys(seen)) == expected


def test_the_weights_learn_the_mean_loss_of_the_paths(tmp_path: Path) -> None:
    """Of paths that are one and the same it is that of one, however many they are."""
    only = RestrictedSpace(SPACE, ((1,), (2,), (0,)))
    found = []
    for paths in (2, 4):
        root = tmp_path / str(paths)
        strategy = DSNAS(estimator="leave_one_out", paths=paths)
        learn(root, strategy, space=only, max_epochs=1, limit_train_batches=1)
        found.append(state(root)["state_dict"])
    short_runs.assert_close(*({k: v for k, v in s.items() if k.startswith("supernet")} for s in found))


class Disturbance(Callback):
    """Draws from the global streams."""

    def on_train_batch_start(self, *_: Any) -> None:
        torch.rand(3)
        np.random.random()  # noqa: NPY002  (what is to be told apart)


@EACH
def test_noise_is_of_seed_and_step_and_of_no_global_stream(
    tmp_path: Path, strategy: LearningStrategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for name, seed, callbacks in (("a", "3", []), ("b", "3", [Disturbance()]), ("c", "4", [])):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        learn(tmp_path / name, strategy, *callbacks, max_epochs=1, limit_train_batches=2)
        found[name] = vectors(state(tmp_path / name))
    short_runs.assert_same(found["a"], found["b"])
    assert not torch.equal(found["a"][0], found["c"][0])


@EACH
def test_a_resumed_run_equals_one_that_was_never_interrupted(
    tmp_path: Path, strategy: LearningStrategy
) -> None:
    """From within epochs and from between them: weights, alphas, optimizers, what is settled, files, metrics."""
    checkpoints = short_runs.EveryCheckpoint(every_n_train_steps=1)
    straight = tmp_path / "straight"
    data = {"train_size": 200 if strategy.needs_held_out else 100}
    result = learn(straight, strategy, checkpoints, data=data)
    last = max(straight.glob("*.ckpt")).name
    assert (result["settled"] > 0) == isinstance(strategy, DSNAS)
    for begin in sorted(straight.glob("*.ckpt"))[:-1]:
        resumed = tmp_path / begin.stem
        assert learn(resumed, strategy, checkpoints, data=data, ckpt_path=begin) == result
        ours, theirs = state(resumed, last), state(straight, last)
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
            short_runs.assert_same(ours[key], theirs[key])
        for file in ("genotypes.csv", "alphas.csv"):
            assert (resumed / file).read_bytes() == (straight / file).read_bytes()
        for metric in ("train/loss", "learn/entropy", "val/accuracy"):
            values = short_runs.logged(resumed, metric)
            assert values == short_runs.logged(straight, metric)[-len(values) :]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [STRATEGIES["darts2"], STRATEGIES["gdas"]], ids=["darts2", "gdas"])
def test_cells_with_running_statistics_resume(tmp_path: Path, strategy: LearningStrategy) -> None:
    checkpoints = short_runs.EveryCheckpoint(every_n_train_steps=1)
    options = {"norm": NormPolicy(affine=True, running_stats=True)}
    given: dict[str, Any] = {"space": CELLS, "options": options, "max_epochs": 2}
    learn(tmp_path / "straight", strategy, checkpoints, **given)
    learn(tmp_path / "resumed", strategy, checkpoints, ckpt_path=tmp_path / "straight" / "01.ckpt", **given)
    ours, theirs = (state(tmp_path / name, "04.ckpt") for name in ("resumed", "straight"))
    short_runs.assert_same(ours["state_dict"], theirs["state_dict"])


class Interrupt(Callback):
    """Ctrl-C in the middle of a step."""

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupted_run_continues_exactly(tmp_path: Path) -> None:
    straight = learn(tmp_path / "straight", DARTS())
    cut = tmp_path / "cut"
    with pytest.raises(SystemExit):
        learn(cut, DARTS(), Interrupt())
    assert not (cut / "learn.json").exists()
    assert state(cut)["global_step"] == 3
    for _ in range(2):  # and again, when it is finished
        assert learn(cut, DARTS(), ckpt_path=Path("last")) == straight
    short_runs.assert_same(state(cut)["state_dict"], state(tmp_path / "straight")["state_dict"])
    assert short_runs.metrics(cut) == short_runs.metrics(tmp_path / "straight")


def test_a_run_is_continued_as_it_was_begun(tmp_path: Path) -> None:
    learn(tmp_path, SNAS(), max_epochs=1)
    last = tmp_path / "last.ckpt"
    with pytest.raises(NASError, match=r"begun with strategy\.annealing cosine, but now .* is linear"):
        learn(tmp_path, SNAS(annealing="linear"), ckpt_path=last)
    with pytest.raises(NASError, match="begun with strategy SNAS, but now strategy is DARTS"):
        learn(tmp_path, DARTS(), ckpt_path=last)
    with pytest.raises(NASError, match=r"begun with trainer.gradient_clip_val None, but now .* is 5"):
        learn(tmp_path, SNAS(), ckpt_path=last, gradient_clip_val=5)
    with pytest.raises(NASError, match="already holds a run: continue it"):
        learn(tmp_path, SNAS())
    assert len(rows(tmp_path, "genotypes.csv")) == 1
    assert learn(tmp_path, SNAS(), ckpt_path=Path("last"))["epochs"] == 3
    assert [row["epoch"] for row in rows(tmp_path, "genotypes.csv")] == ["1", "2", "3"]


@EACH
def test_a_part_never_weighs_what_was_removed(tmp_path: Path, strategy: LearningStrategy) -> None:
    leaf = RestrictedSpace(SPACE, ((1, 2), (0,), (0, 2)))
    result = learn(tmp_path, strategy, space=leaf)
    assert leaf.is_valid(leaf.decode(result["best"]["arch"]))
    removed = {("0", "0"), ("1", "1"), ("1", "2"), ("2", "1")}
    table = rows(tmp_path, "alphas.csv")
    for row in table:
        if (row["decision"], row["choice"]) in removed:
            assert float(row["probability"]) == 0
        if row["decision"] == "1" and row["choice"] == "0":
            assert float(row["probability"]) == 1
    assert len(table) == 3 * 9
    fresh = short_runs.supernet_module(leaf).supernet.state_dict()
    trained = state(tmp_path)["state_dict"]
    for layer, choice in ((1, 0), (1, 1), (2, 0)):  # their weights have never run
        name = f"choices.{layer}.{choice}.0.weight"
        assert torch.equal(trained[f"supernet.{name}"], fresh[name])


def test_what_is_settled_stays(tmp_path: Path) -> None:
    strategy = DSNAS(gap=0.05)
    checkpoints = short_runs.EveryCheckpoint(every_n_train_steps=100)
    result = learn(tmp_path, strategy, checkpoints, max_epochs=8)
    table = rows(tmp_path, "genotypes.csv")
    counts = [int(row["settled"]) for row in table]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == 3
    begun = next(epoch for epoch, count in enumerate(counts) if count == 3)
    assert len({row["arch"] for row in table[begun:]}) == 1
    assert result["best"]["arch"] == table[-1]["arch"]
    found = [vectors(state(tmp_path, f"{4 * epoch:02d}.ckpt")) for epoch in range(begun + 1, 9)]
    for later in found[1:]:
        short_runs.assert_same(later, found[0])
    assert float(table[-1]["entropy"]) == 0


def test_settled_alphas_rest_while_others_move(tmp_path: Path) -> None:
    leaf = RestrictedSpace(SPACE, ((1,), (0, 1, 2), (0, 1, 2)))
    learn(tmp_path, DARTS(), short_runs.EveryCheckpoint(every_n_train_steps=1), space=leaf)
    first, last = (vectors(state(tmp_path, name)) for name in ("01.ckpt", "06.ckpt"))
    assert [torch.equal(a, b) for a, b in zip(first, last, strict=True)] == [True, False, False]
