"""Trainings that are killed ten times on their way end as if they had not been, to the last bit.

One run of every method goes on through eleven processes: ten are killed, each where a seeded generator says, and the next
continues with ``--ckpt_path last``. Seven are killed between two calls of callbacks, anywhere in a step, a validation or
the end of an epoch; two in the middle of writing a checkpoint, by the kernel; one when a checkpoint is written and has not
yet taken the place of the one before. Weights, optimizer, callbacks (samplers among them) and metrics are compared.
"""

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import short_runs
import torch
from faults.forked import command, end_of
from faults.killed import Kill, killed, watched

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
CELLS, POOLING = "spaces/nasbench201_small.yaml", "spaces/pooling_small.yaml"
SAVING = (
    "--trainer.callbacks+ lightning_nas.callbacks.RunCheckpoint --trainer.callbacks.every_n_train_steps 1"
)
# 3 epochs of 4 steps, with a checkpoint after every step.
TINY = (
    "--trainer.max_epochs 3 --trainer.check_val_every_n_epoch 1 --trainer.log_every_n_steps 1 --data.train_size 100 "
    "--data.batch_size 25 --data.val_size 100 --data.eval_batch_size 100 --ranking.paths 2 "
    f"--trainer.enable_progress_bar false --trainer.enable_model_summary false {SAVING}"
)
PROBE = "--sampler.probe_size 16 --sampler.warmup_steps 3"
SAMPLERS = {
    "complexity": "",
    "data_importance": "",
    "deisomorphic": "",
    "density": PROBE,
    "evolution": "--sampler.warmup_epochs 1 --sampler.every_n_epochs 1 --sampler.population_size 3 "
    "--sampler.num_candidates 6 --sampler.num_images 50",
    "fair": "",
    "pada": "",
    "path_importance": "",
    "prototype_density": f"{PROBE} --sampler.prototypes 3",
    "uniform": "",
    "uniform_window": "",
}
# A window of costs belongs to a space, and a table of the densities of all paths takes its time.
FEW_PATHS = ("uniform_window", "density")
# Verb, configs beside that of the data, and more.
METHODS: dict[str, tuple[str, list[str], str]] = {
    **{
        name: ("fit", [POOLING if name in FEW_PATHS else CELLS, f"samplers/{name}.yaml"], more)
        for name, more in SAMPLERS.items()
    },
    "calr": ("fit", [CELLS, "optim/calr.yaml"], ""),
    "momentum_separation": ("fit", [CELLS, "optim/momentum_separation.yaml"], ""),
    **{name: ("learn", [CELLS, f"differentiable/{name}.yaml"], "") for name in ("darts", "snas", "dsnas")},
    "leaf": ("fit-fewshot", [CELLS], "--leaf 1 --tree {tree}"),
}
STATES = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "global_step", "epoch")
SIGNALS = {"called": signal.SIGKILL, "torn": signal.SIGXFSZ, "written": signal.SIGKILL}


def test_every_config_of_a_sampler_is_tried() -> None:
    assert {path.stem for path in (CONFIGS / "samplers").glob("*.yaml")} == set(SAMPLERS)


def kills(method: str, file: Path) -> list[Kill]:
    """Ten moments of a training, in their order, and of the last two steps none: a checkpoint is still to come."""
    rng = random.Random(method)
    moments = [cast(tuple[int, int], tuple(moment)) for moment in json.loads(file.read_text())]
    chosen = sorted(rng.sample([moment for moment in moments if moment[0] < moments[-1][0] - 1], 10))
    hows: list[Any] = ["called"] * 7 + ["torn"] * 2 + ["written"]
    rng.shuffle(hows)
    return [Kill(moment, how) for moment, how in zip(chosen, hows, strict=True)]


@pytest.mark.parametrize("method", METHODS)
def test_it_ends_as_if_it_had_not_been_killed(
    tmp_path: Path,
    method: str,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("cases", 10)
    verb, configs, more = METHODS[method]
    given = [word for config in ("data/digits.yaml", *configs) for word in ("-c", str(CONFIGS / config))]
    if verb == "fit-fewshot":
        split = f"--metric EveryChoice --depth 1 --trainer.default_root_dir {tmp_path / 'tree'}"
        assert end_of(command, ["split", *given, *split.split()], log=tmp_path / "said").code == 0
    words = [*TINY.split(), *more.format(tree=tmp_path / "tree").split(), "--trainer.default_root_dir"]
    args = [verb, *given, *words]

    straight = end_of(
        watched, [*args, str(tmp_path / "straight")], tmp_path / "moments", log=tmp_path / "said"
    )
    assert straight.code == 0, straight.said
    root = tmp_path / "killed"
    for kill in kills(method, tmp_path / "moments"):
        end = end_of(killed, [*args, str(root), *continued(verb, root)], kill, log=tmp_path / "said")
        usual = kill.how != "torn" or last(verb, root).exists()
        assert end.code == -(SIGNALS[kill.how] if usual else signal.SIGKILL), end.said
    end = end_of(command, [*args, str(root), *continued(verb, root)], log=tmp_path / "said")
    assert end.code == 0, end.said

    one, other = (torch.load(last(verb, run), weights_only=True) for run in (tmp_path / "straight", root))
    for key in STATES:
        short_runs.assert_same(other[key], one[key])
    assert short_runs.metrics(last(verb, root).parent) == short_runs.metrics(
        last(verb, tmp_path / "straight").parent
    )


def last(verb: str, root: Path) -> Path:
    return (root / "leaf-1" if verb == "fit-fewshot" else root) / "last.ckpt"


def continued(verb: str, root: Path) -> list[str]:
    """Few-shot training continues by the same command."""
    return ["--ckpt_path", "last"] if verb != "fit-fewshot" and last(verb, root).exists() else []
