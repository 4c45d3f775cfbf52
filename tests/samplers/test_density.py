import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from scipy.stats import chisquare
from short_runs import assert_same
from toy_space import Toy

from lightning_nas.data import DigitsDataModule
from lightning_nas.density import mean_distance
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.optim.schedule import Schedule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import DensitySampler
from lightning_nas.samplers.density import (
    Normalize,
    density_distribution,
    effective_sample_size,
    temperature_for,
)
from lightning_nas.spaces import ListedSpace, Pooling, RestrictedSpace, SearchSpace
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


@pytest.mark.parametrize("representation", ["functional", "cka", "gradient", "gradient_concat"])
def test_the_algorithm(tmp_path: Path, representation: Any) -> None:
    """Uniform before the warm-up ends, then M from the weights of that very step."""
    sampler = DensitySampler(tau=2.0, warmup_steps=4, representation=representation, seed=0, probe_size=16)
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
        density_distribution(seen_distance[0], 2.0, "zscore")
    )
    assert sampler.visits is not None
    assert sampler.visits.sum() == 12


def test_draws_follow_m() -> None:
    space = Toy(layers=2)
    sampler = DensitySampler(warmup_steps=1, paths=100, seed=0)
    m = density_distribution(np.linspace(0, 1, 9), 0.5, "minmax")
    sampler.probabilities = torch.from_numpy(m)
    module = SupernetModule(space)
    trainer = NASTrainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    counts = np.zeros(9)
    for step in range(1, 1001):
        for path in sampler.choose(trainer, module, step):
            counts[space.index(path)] += 1
    assert counts.sum() == 100_000
    assert chisquare(counts, 100_000 * m).pvalue > 1e-3


class Slow:
    """Algorithm 1, a pair of paths at a time, with the networks of a running training."""

    def __init__(self, sampler: DensitySampler, images: torch.Tensor) -> None:
        self.o, self.images, self.measured = sampler, images, -1
        self.m: list[float] = []

    def measure(self, module: SupernetModule) -> None:
        ys = []
        for path in module.space:
            with torch.no_grad():
                y = module.supernet(self.images, path).double().flatten().numpy()
            ys.append(y / np.sqrt((y**2).sum()))
        n = len(ys)
        d = [sum(1 - float((ys[a] * ys[b]).sum()) for b in range(n) if b != a) / (n - 1) for a in range(n)]
        mean = sum(d) / n
        deviation = (sum((x - mean) ** 2 for x in d) / n) ** 0.5
        weights = [float(np.exp((x - mean) / deviation / 0.5)) for x in d]
        self.d, self.m = d, [w / sum(weights) for w in weights]

    def path(self, module: SupernetModule, step: int, epoch: int) -> tuple[int, ...]:
        rng = generator(self.o.seed, Stream.PATH, step)
        if step < self.o.warmup:
            return module.space.sample(rng)
        if self.measured < 0 or (self.o.refresh_every and epoch >= self.measured + self.o.refresh_every):
            self.measure(module)
            self.measured = epoch
        u, below = float(rng.random(1)[0]), 0.0
        for number, probability in enumerate(self.m):
            below += probability
            if u < below:
                return module.space[number]
        raise AssertionError


@pytest.mark.parametrize("refresh_every", [None, 7])
def test_the_algorithm_written_out(tmp_path: Path, refresh_every: int | None) -> None:
    """220 steps of a real training, 200 of them after the warm-up, every one compared."""
    sampler = DensitySampler(tau=0.5, warmup_steps=20, probe_size=16, refresh_every=refresh_every, seed=0)
    choose, slow, different = sampler.choose, list[Slow](), set[float]()

    def both(trainer: Any, module: SupernetModule, step: int) -> Any:
        if not slow:
            slow.append(Slow(sampler, trainer.datamodule.validation_images(sampler.probe)[0]))
        path = slow[0].path(module, step, trainer.current_epoch)
        paths = choose(trainer, module, step)
        assert paths == (path,), step
        if sampler.probabilities is not None:
            assert sampler.distance is not None
            assert sampler.distance.numpy() == pytest.approx(np.array(slow[0].d), abs=1e-10)
            assert sampler.probabilities.numpy() == pytest.approx(np.array(slow[0].m), abs=1e-10)
            different.add(float(sampler.probabilities[0]))
        return paths

    sampler.choose = both  # type: ignore[method-assign]
    trainer = short_runs.trainer(
        tmp_path, sampler, max_epochs=55, limit_val_batches=0, logger=False, enable_checkpointing=False
    )
    trainer.fit(short_runs.supernet_module(Toy(layers=2, width=4)), datamodule=short_runs.digits())
    assert sampler.visits is not None
    assert sampler.visits.sum() == 220
    # Measured in epoch 5, and again in 12, 19, 26, 33, 40, 47 and 54.
    assert len(different) == (1 if refresh_every is None else 8)


# ------------------------------------------------------------------------------------------- effective sample size


@pytest.mark.parametrize("normalize", ["zscore", "minmax", "none", "sum"])
@pytest.mark.parametrize("target", [0.3, 0.8, 0.99])
def test_a_temperature_is_found_for_an_effective_sample_size(target: float, normalize: Normalize) -> None:
    distance = np.random.default_rng(0).uniform(0.3, 0.6, size=200)
    tau = temperature_for(distance, target, normalize)
    m = density_distribution(distance, tau, normalize)
    assert effective_sample_size(m) == pytest.approx(target * 200, rel=1e-6)


def test_the_whole_space_as_a_target_is_uniform() -> None:
    m = density_distribution(WORKED_EXAMPLE, temperature_for(WORKED_EXAMPLE, 1.0, "zscore"), "zscore")
    assert m == pytest.approx([0.25] * 4, abs=1e-5)


def test_a_target_out_of_reach_is_approached() -> None:
    """Two paths share the largest distance, so that no temperature leaves less than two."""
    distance = [0.1, 0.5, 0.5, 0.2]
    m = density_distribution(distance, temperature_for(distance, 0.25, "none"), "none")
    assert m == pytest.approx([0, 0.5, 0.5, 0])


def test_what_is_logged_when_densities_are_measured(tmp_path: Path) -> None:
    sampler = DensitySampler(target_ess=0.6, warmup_steps=4, probe_size=16, seed=0)
    fitted(tmp_path, sampler)
    [row] = [row for row in short_runs.metrics(tmp_path) if row.get("density/perplexity")]
    assert sampler.probabilities is not None
    m = sampler.probabilities.numpy()
    expected = {
        "effective_sample_size": 0.6 * 36,
        "perplexity": np.exp(-(m * np.log(m)).sum()),
        "max_over_min": m.max() / m.min(),
        "temperature": sampler.temperature,
    }
    assert {key: float(row[f"density/{key}"]) for key in expected} == pytest.approx(expected, rel=1e-6)
    assert row["step"] == "4"


def test_a_small_effective_sample_size_is_warned_of(tmp_path: Path) -> None:
    """Under a twentieth of the 36 paths, which is 1.8."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fitted(tmp_path, DensitySampler(tau=0.01, warmup_steps=4, probe_size=16, seed=0))
    [said] = [str(w.message) for w in seen if "effective" in str(w.message)]
    assert said.startswith("the effective sample size is 1 of 36 paths: most are hardly trained any more")


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
        ({"target_ess": 0.0}, r"sampler\.target_ess is 0\.0: valid are parts of the space in \(0, 1\]"),
        ({"target_ess": 1.5}, r"sampler\.target_ess is 1\.5"),
        (
            {"target_ess": 0.5, "tau": 1.0},
            r"sampler\.tau is 1\.0 and sampler\.target_ess is 0\.5: .* give one",
        ),
        ({"refresh_every": 0}, r"sampler\.refresh_every is 0"),
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
        (
            DensitySampler(probe_size=501),
            Pooling(channels=(4, 4, 6)),
            r"^sampler\.probe_size is 501, but the validation split has 500",
        ),
        (
            DensitySampler(),
            Toy(layers=40),
            "at most 100000 can be enumerated; PrototypeDensitySampler works on any",
        ),
        (
            DensitySampler(probe_size=15),
            Pooling(channels=(4, 4, 6)),
            r"sampler\.probe_size is 15, but batch-norm",
        ),
        (
            DensitySampler(),
            ListedSpace(Toy(layers=3), ((0, 1, 2),)),
            r"DensitySampler compares paths, but model\.space has one",
        ),
        (
            DensitySampler(),
            RestrictedSpace(Toy(layers=2), ((1,), (2,))),
            r"DensitySampler compares paths, but model\.space has one",
        ),
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


@pytest.mark.parametrize(
    "changed", [{"tau": 1.0}, {"representation": "encoding"}, {"warmup_steps": 5}, {"refresh_every": 2}]
)
def test_a_run_is_not_continued_with_other_options(changed: dict[str, Any]) -> None:
    options: dict[str, Any] = {"tau": 0.5, "warmup_steps": 4, "seed": 0}
    state = DensitySampler(**options).state_dict()
    [(key, value)] = changed.items()
    with pytest.raises(NASError, match=rf"trained with sampler\.{key} .*, but now sampler\.{key} is {value}"):
        DensitySampler(**options | changed).load_state_dict(state)
