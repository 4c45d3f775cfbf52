from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from short_runs import assert_same
from toy_space import Toy

from lightning_nas.data import DigitsDataModule
from lightning_nas.density import mean_distance
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.schedule import Schedule
from lightning_nas.samplers import DensitySampler
from lightning_nas.samplers.density import Normalize, density_distribution
from lightning_nas.spaces import Pooling, SearchSpace
from lightning_nas.trainer import NASTrainer

SMALL = Pooling(channels=(4, 4, 6))
WORKED_EXAMPLE = mean_distance(np.array([[1, 0], [1, 0.1], [1, -0.1], [0, 1]]))


@pytest.mark.parametrize(
    ("tau", "normalize", "expected"),
    [
        (1.0, "none", (0.201925, 0.196306, 0.209770, 0.391998)),
        (0.1, "none", (0.001310, 0.000988, 0.001918, 0.995785)),
        (5.0, "none", (0.241319, 0.239960, 0.243165, 0.275556)),
        (5.0, "zscore", (0.217596, 0.213355, 0.223457, 0.345592)),
        (25.0, "zscore", (0.244001, 0.243043, 0.245302, 0.267655)),
        (1.0, "zscore", (0.076021, 0.068897, 0.086827, 0.768255)),
    ],
)
def test_worked_example(tau: float, normalize: Normalize, expected: tuple[float, ...]) -> None:
    assert density_distribution(WORKED_EXAMPLE, tau, normalize) == pytest.approx(expected, abs=1e-6)


def test_effective_sample_size_of_the_worked_example() -> None:
    m = density_distribution(WORKED_EXAMPLE, 5.0, "zscore")
    assert 1 / (m**2).sum() == pytest.approx(3.8134, abs=1e-4)


@pytest.mark.parametrize("normalize", ["zscore", "minmax", "none", "sum"])
def test_the_formula_written_out(normalize: Normalize) -> None:
    d = WORKED_EXAMPLE
    scaled = {
        "zscore": (d - d.mean()) / d.std(),
        "minmax": (d - d.min()) / (d.max() - d.min()),
        "none": d,
        "sum": d * 3,
    }[normalize]
    expected = np.exp(scaled / 2.0) / np.exp(scaled / 2.0).sum()
    assert density_distribution(d, 2.0, normalize) == pytest.approx(expected)


@pytest.mark.parametrize("normalize", ["zscore", "minmax", "none", "sum"])
def test_equal_distances_are_sampled_uniformly(normalize: Normalize) -> None:
    noise = 0.355556 + np.random.default_rng(0).normal(size=36) * 1e-15
    assert density_distribution(noise, 0.5, normalize) == pytest.approx(np.full(36, 1 / 36), abs=1e-12)


def test_encoding_density_is_a_null_control(tmp_path: Path) -> None:
    """Hamming distance cannot tell the paths apart, so M must be exactly uniform."""
    sampler = DensitySampler(tau=0.5, warmup_steps=1, representation="encoding")
    fitted(tmp_path, sampler)
    assert sampler.probabilities is not None
    assert sampler.probabilities.numpy() == pytest.approx(np.full(36, 1 / 36), abs=1e-12)


def test_sharp_temperatures_do_not_overflow() -> None:
    m = density_distribution([0.0, 1.0, 2.0], 1e-3, "none")
    assert m == pytest.approx([0, 0, 1])


def fitted(
    root: Path,
    sampler: DensitySampler,
    space: SearchSpace = SMALL,
    schedule: Schedule = "cosine",
    **flags: Any,
) -> SupernetModule:
    torch.manual_seed(0)
    module = SupernetModule(space, in_channels=1, image_size=8, schedule=schedule)
    options = {
        "max_epochs": 2,
        "limit_val_batches": 0,
        "enable_model_summary": False,
        "enable_progress_bar": False,
    }
    trainer = NASTrainer(
        default_root_dir=str(root), accelerator="cpu", callbacks=[sampler], **options | flags
    )
    trainer.fit(module, datamodule=DigitsDataModule(seed=0))
    return module


@pytest.mark.parametrize("representation", ["functional", "gradient"])
def test_the_algorithm(tmp_path: Path, representation: Any) -> None:
    """Uniform before the warm-up ends, then M from the weights of that very step."""
    sampler = DensitySampler(tau=0.5, warmup_steps=4, representation=representation, seed=0, probe_size=16)
    seen: list[tuple[int, ...]] = []
    choose = sampler.choose

    def spy(trainer: Any, module: SupernetModule, step: int) -> Any:
        if step == 4:
            weights = {name: tensor.clone() for name, tensor in module.supernet.state_dict().items()}
            twin = module.space.build_supernet()
            twin.load_state_dict(weights)
            images, labels = trainer.datamodule.validation_images(sampler.probe)
            from lightning_nas.density import mean_distances

            seen_distance.append(mean_distances(twin, tuple(module.space), images, labels, representation))
        paths = choose(trainer, module, step)
        seen.extend(paths)
        return paths

    seen_distance: list[Any] = []
    sampler.choose = spy  # type: ignore[method-assign]
    fitted(tmp_path, sampler)
    assert len(seen) == 12
    assert sampler.distance is not None
    assert sampler.probabilities is not None
    assert np.array_equal(sampler.distance.numpy(), seen_distance[0])
    assert sampler.probabilities.numpy() == pytest.approx(
        density_distribution(seen_distance[0], 0.5, "zscore")
    )
    assert sampler.visits is not None
    assert sampler.visits.sum() == 12


def test_draws_follow_m() -> None:
    space = Toy(layers=2)
    sampler = DensitySampler(warmup_steps=1, paths=1, seed=0)
    m = density_distribution(np.linspace(0, 1, 9), 0.5, "minmax")
    sampler.probabilities = torch.from_numpy(m)
    module = SupernetModule(space)
    trainer = NASTrainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    counts = np.zeros(9)
    for step in range(1, 6001):
        [path] = sampler.choose(trainer, module, step)
        counts[space.index(path)] += 1
    expected = 6000 * m
    # Chi-square with 8 degrees of freedom stays below 26.1 in 999 of 1000 draws.
    assert ((counts - expected) ** 2 / expected).sum() < 26.1


def test_default_warm_up_is_three_epochs_or_a_twentieth(tmp_path: Path) -> None:
    short, long = DensitySampler(), DensitySampler()
    fitted(tmp_path / "short", short, max_epochs=4)
    assert short.warmup == 18
    fitted(tmp_path / "long", long, max_epochs=200, limit_train_batches=2, max_steps=400, space=Toy(layers=2))
    assert long.warmup == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0.0}, r"sampler\.tau is 0\.0: a temperature is positive"),
        ({"tau": -1.0}, r"sampler\.tau is -1\.0"),
        ({"tau": float("nan")}, r"sampler\.tau is nan"),
        ({"warmup_steps": 0}, r"sampler\.warmup_steps is 0"),
        ({"paths": 0}, r"sampler\.paths is 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        DensitySampler(**arguments)


@pytest.mark.parametrize(
    ("sampler", "space", "message"),
    [
        (DensitySampler(), SMALL, "sampler.warmup_steps is 18 by default, but the whole run has 12 steps"),
        (
            DensitySampler(warmup_steps=12),
            Pooling(channels=(4, 4, 6)),
            "the whole run has 12 steps: valid are 1 to 11",
        ),
        (DensitySampler(probe_size=501), Pooling(channels=(4, 4, 6)), "the validation split has 500 images"),
        (DensitySampler(), Toy(layers=40), "DensitySampler needs the density of every path"),
    ],
)
def test_what_cannot_work_is_refused_before_a_step(
    tmp_path: Path,
    sampler: DensitySampler,
    space: Any,
    message: str,
) -> None:
    with pytest.raises(NASError, match=message):
        fitted(tmp_path, sampler, space)
    assert sampler.visits is None or sampler.visits.sum() == 0


def test_accumulation_counts_batches_not_optimizer_steps(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="the whole run has 12 steps"):
        fitted(tmp_path, DensitySampler(warmup_steps=12), accumulate_grad_batches=2)


def test_a_run_without_end_needs_a_warm_up(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"the run has no end.*give sampler\.warmup_steps"):
        fitted(tmp_path, DensitySampler(), schedule="constant", max_epochs=-1, max_time="00:00:00:01")


def test_a_second_run_begins_anew(tmp_path: Path) -> None:
    once, twice = (DensitySampler(tau=0.5, warmup_steps=4, probe_size=16, seed=0) for _ in range(2))
    fitted(tmp_path / "other", twice, Pooling(channels=(6, 4, 4)))
    other = twice.state_dict()
    modules = [fitted(tmp_path / str(i), sampler) for i, sampler in enumerate((once, twice))]
    assert_same(once.state_dict(), twice.state_dict())
    assert_same(modules[0].state_dict(), modules[1].state_dict())
    assert not torch.equal(other["distance"], twice.state_dict()["distance"])


@pytest.mark.parametrize("changed", [{"tau": 1.0}, {"representation": "encoding"}, {"warmup_steps": 5}])
def test_a_run_is_not_continued_with_other_options(changed: dict[str, Any]) -> None:
    options: dict[str, Any] = {"tau": 0.5, "warmup_steps": 4, "seed": 0}
    state = DensitySampler(**options).state_dict()
    [(key, value)] = changed.items()
    with pytest.raises(NASError, match=rf"trained with sampler\.{key} .*, but now sampler\.{key} is {value}"):
        DensitySampler(**options | changed).load_state_dict(state)
