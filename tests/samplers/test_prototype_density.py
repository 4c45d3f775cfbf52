import warnings
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from scipy.stats import chisquare
from sklearn.cluster import KMeans
from space_checks import CONFIGS, small_space
from toy_space import Toy

from lightning_nas.density import mean_distances
from lightning_nas.density.prototypes import spread
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import PrototypeDensitySampler
from lightning_nas.samplers.acceptance import acceptance, robust_deviation
from lightning_nas.spaces import ListedSpace, SearchSpace
from lightning_nas.trainer import NASTrainer

SPACE = Toy(layers=3, width=4)
SMALL: dict[str, Any] = {"prototypes": 6, "pool_size": 30, "warmup_steps": 8, "probe_size": 16, "seed": 0}
BARE = {"limit_val_batches": 0, "logger": False, "enable_checkpointing": False}


# ------------------------------------------------------------------------ the algorithm, written out step by step


class Slow:
    """Algorithm 2, one number at a time, with the networks of a running training."""

    def __init__(self, sampler: PrototypeDensitySampler, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.o, self.images = sampler, images
        self.c: list[NDArray[np.float64]] = []
        self.pool: list[tuple[int, ...]] = []
        self.cached: dict[tuple[int, ...], NDArray[np.float64]] = {}
        self.measured = -1

    def y(self, module: SupernetModule, path: tuple[int, ...]) -> NDArray[np.float64]:
        if self.pool and path in self.cached:
            return self.cached[path]
        with torch.no_grad():
            logits = module.supernet(self.images, path).double().flatten().numpy()
        return np.asarray(logits / np.sqrt((logits**2).sum()))

    def distance_to(self, y: NDArray[np.float64], c: NDArray[np.float64]) -> float:
        return float(1 - (y * c).sum() / np.sqrt((c**2).sum()))

    def mean_distance(self, y: NDArray[np.float64]) -> float:
        if self.o.estimator == "mean_vector":
            return float(1 - (y * self.mu).sum())
        if self.o.prototype_weight == "mass":
            return sum(m * float(1 - (y * c).sum()) for m, c in zip(self.masses, self.c, strict=True))
        return sum(self.distance_to(y, c) for c in self.c) / len(self.c)

    def measure(self, module: SupernetModule, step: int) -> None:
        rng = generator(self.o.seed, Stream.KMEANS, step)
        paths = [module.space.sample(rng) for _ in range(self.o.pool_size)]
        self.pool, self.cached = [], {}
        ys = [self.y(module, path) for path in paths]
        k = min(self.o.prototypes, len({y.tobytes() for y in ys}))
        means = KMeans(k, n_init=1, max_iter=50, random_state=int(rng.integers(2**32))).fit(np.stack(ys))
        self.c = list(means.cluster_centers_)
        self.masses = [float((means.labels_ == i).mean()) for i in range(k)]
        self.mu, self.seen = sum(ys) / len(ys), len(ys)
        self.window = deque([self.mean_distance(y) for y in ys], maxlen=self.o.window)
        if self.o.refresh_every:
            self.pool, self.cached = paths, dict(zip(paths, ys, strict=True))
        self.measured = step

    def probability(self, distances: list[float], of: float) -> float:
        def density(d: float) -> float:
            return 1 / d if self.o.compare == "density" else -d

        x = sorted(density(d) for d in distances)
        median, *quartiles = (self.quantile(x, q) for q in (0.5, 0.25, 0.75))
        mid = {"median": median, "mean": sum(x) / len(x), "midrange": (x[0] + x[-1]) / 2}.get(str(self.o.mid))
        if mid is None:
            mid = self.quantile(x, float(self.o.mid))
        scale = (quartiles[1] - quartiles[0]) / 1.349 if self.o.scale == "iqr" else 1.0
        logit = min(max((mid - density(of)) / (self.o.tau * scale), -20.0), 20.0)
        return float(1 / (1 + np.exp(-logit)))

    @staticmethod
    def quantile(x: list[float], q: float) -> float:
        below = int(q * (len(x) - 1))
        above = min(below + 1, len(x) - 1)
        return x[below] + (q * (len(x) - 1) - below) * (x[above] - x[below])

    def learn(self, y: NDArray[np.float64], d: float) -> None:
        if self.pool:
            return
        self.seen += 1
        self.mu = self.mu + max(1 / self.seen, 0.01) * (y - self.mu)
        squares = [self.distance_to(y, c) ** 2 for c in self.c]
        betas = [1 / (s + 1e-6) for s in squares] if self.o.beta == "inverse" else squares
        self.c = [c + self.o.rate * b / sum(betas) * (y - c) for b, c in zip(betas, self.c, strict=True)]
        self.window.append(d)

    def step(self, module: SupernetModule, step: int) -> tuple[tuple[int, ...], float]:
        """The path and the weight of its loss."""
        paths, coins = generator(self.o.seed, Stream.PATH, step), generator(self.o.seed, Stream.ACCEPT, step)
        if step < self.o.warmup:
            return module.space.sample(paths), 1.0
        if self.measured < 0 or (self.o.refresh_every and step - self.measured >= self.o.refresh_every):
            self.measure(module, step)
        for _ in range(self.o.max_tries):
            path = self.pool[paths.integers(len(self.pool))] if self.pool else module.space.sample(paths)
            y = self.y(module, path)
            d = self.mean_distance(y)
            p = self.probability(list(self.window), d)
            mean = np.mean([self.probability(list(self.window), of) for of in self.window])
            self.learn(y, d)
            accepted = coins.random() < p
            if self.o.on_rejection == "weight":
                return path, float(p / mean)
            if accepted or self.o.on_rejection == "skip":
                return path, float(accepted)
        return path, 1.0


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "inverse, by mass, weight": {
        "beta": "inverse",
        "prototype_weight": "mass",
        "on_rejection": "weight",
        "mid": "mean",
    },
    "mean vector, skip": {"estimator": "mean_vector", "on_rejection": "skip", "compare": "distance"},
    "pool": {"refresh_every": 30, "mid": 0.3, "tau": 0.2, "max_tries": 3},
    "as printed": {"scale": "none", "mid": "midrange", "tau": 0.1},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the spread of the prototypes")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_algorithm_written_out(tmp_path: Path, options: dict[str, Any]) -> None:
    """212 steps after the warm-up, every one compared."""
    sampler = PrototypeDensitySampler(**SMALL, window=40, **options)
    choose, slow, compared = sampler.choose, list[Slow](), list[int]()

    def both(trainer: Trainer, module: SupernetModule, step: int) -> Any:
        if not slow:
            images, labels = trainer.datamodule.validation_images(sampler.probe)  # type: ignore[attr-defined]
            slow.append(Slow(sampler, images, labels))
        path, weight = slow[0].step(module, step)
        paths = choose(trainer, module, step)
        assert paths == (path,), step
        if step >= sampler.warmup:
            assert (module.path_weights or (1.0,)) == pytest.approx((weight,), abs=1e-10)
            assert sampler.recent.numpy() == pytest.approx(np.array(slow[0].window), abs=1e-10)
            if sampler.estimator == "mean_vector":
                assert sampler.mean.numpy() == pytest.approx(slow[0].mu, abs=1e-10)
            else:
                assert sampler.centres.numpy() == pytest.approx(np.stack(slow[0].c), abs=1e-10)
            compared.append(step)
        return paths

    sampler.choose = both  # type: ignore[method-assign]
    train(tmp_path, sampler, max_epochs=55)
    assert len(compared) == 212


def train(
    root: Path,
    sampler: PrototypeDensitySampler,
    space: SearchSpace = SPACE,
    callbacks: Sequence[Callback] = (),
    **flags: Any,
) -> SupernetModule:
    module = short_runs.supernet_module(space)
    trainer = short_runs.trainer(root, sampler, *callbacks, **{**BARE, "log_every_n_steps": 1, **flags})
    trainer.fit(module, datamodule=short_runs.digits())
    return module


# --------------------------------------------------------------------------------------------------- distributions


def frozen(**options: Any) -> tuple[PrototypeDensitySampler, SupernetModule, NASTrainer]:
    """A sampler whose 27 densities stand still."""
    sampler = PrototypeDensitySampler(**{**SMALL, "refresh_every": 10**9, "seed": 0, **options})
    sampler.pool = tuple(SPACE)
    y = np.random.default_rng(0).normal(size=(27, 4)) + 0.7
    sampler.pool_representations = torch.from_numpy(y / np.linalg.norm(y, axis=1, keepdims=True))
    sampler.mean = sampler.pool_representations.mean(0)
    sampler.recent = 1 - sampler.pool_representations @ sampler.mean
    sampler.measured_step = 0
    sampler.estimator = "mean_vector"
    sampler._report = lambda *_: None  # type: ignore[method-assign]
    sampler._probabilities = cache(sampler._probabilities)  # type: ignore[method-assign]
    trainer = NASTrainer(logger=False, enable_checkpointing=False, accelerator="cpu", log_every_n_steps=10**9)
    return sampler, SupernetModule(SPACE), trainer


@pytest.mark.slow
def test_long_run_frequencies() -> None:
    """A path is trained in proportion to P, but for the last of three tries, which is trained in any case."""
    sampler, module, trainer = frozen(max_tries=3)
    p = acceptance(
        1 / sampler.recent.numpy(),
        np.median(1 / sampler.recent),
        robust_deviation(1 / sampler.recent.numpy()),
    )
    mean = p.mean()
    expected = (p / 27) * (1 + (1 - mean)) + (1 - mean) ** 2 / 27
    counts = np.zeros(27)
    draws = 100_000
    for step in range(draws):
        [path] = sampler.choose(trainer, module, step)
        counts[SPACE.index(path)] += 1
    assert p.max() / p.min() > 3
    assert chisquare(counts, draws * expected).pvalue > 1e-3
    assert chisquare(counts).pvalue < 1e-9


def test_losing_the_batch_and_weighting_it_have_the_same_expectation() -> None:
    """Per proposal, P(a) of a step on average; weights are P over its mean."""
    lost, module, trainer = frozen(on_rejection="skip")
    weighted, *_ = frozen(on_rejection="weight")
    p = acceptance(
        1 / lost.recent.numpy(), np.median(1 / lost.recent), robust_deviation(1 / lost.recent.numpy())
    )
    trained, draws = np.zeros(27), 4000
    for step in range(draws):
        [path] = lost.choose(trainer, module, step)
        assert module.path_weights in ((0.0,), (1.0,))
        trained[SPACE.index(path)] += module.path_weights[0]
        assert weighted.choose(trainer, module, step) == (path,)
        assert module.path_weights == pytest.approx((p[SPACE.index(path)] / p.mean(),))
    assert chisquare(trained, trained.sum() * p / p.sum()).pvalue > 1e-3


# ------------------------------------------------------------------------------------------------------ behaviour


@pytest.mark.parametrize("options", [{"prototypes": 27, "pool_size": 4000}, {"estimator": "mean_vector"}])
def test_distances_are_those_of_the_whole_space(tmp_path: Path, options: dict[str, Any]) -> None:
    """With a prototype per path, or the mean of many draws, Algorithm 2 sees what Algorithm 1 measures."""
    sampler = PrototypeDensitySampler(**{**SMALL, "pool_size": 4000, "refresh_every": 100, **options})
    at: dict[str, Any] = {}
    measure = sampler._measure

    def spy(trainer: Any, module: SupernetModule, step: int) -> None:
        measure(trainer, module, step)
        images, labels = trainer.datamodule.validation_images(sampler.probe)
        at["exact"] = mean_distances(module.supernet, tuple(SPACE), images, labels, "functional")
        found = dict(zip(sampler.pool, sampler._mean_distances(sampler.pool_representations), strict=True))
        at["found"] = np.array([float(found[path]) for path in SPACE])

    sampler._measure = spy  # type: ignore[method-assign]
    train(tmp_path, sampler)
    exact = at["exact"] * 26 / 27  # over all paths instead of all others
    tolerance = 1e-9 if options.get("prototypes") else 0.05
    assert at["found"] == pytest.approx(exact, abs=tolerance)
    assert np.corrcoef(exact, at["found"])[0, 1] > 0.99


@pytest.mark.parametrize("beta", ["printed", "inverse"])
def test_the_printed_update_collapses_and_says_so_once(tmp_path: Path, beta: Any) -> None:
    sampler = PrototypeDensitySampler(**SMALL, beta=beta)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        train(tmp_path, sampler, max_epochs=15)
    said = [str(w.message) for w in seen if "spread of the prototypes" in str(w.message)]
    collapsed = spread(sampler.centres) < 0.1 * sampler.initial_spread
    assert (len(said), collapsed) == ((1, True) if beta == "printed" else (0, False))
    assert all("beta inverse keeps them apart" in message for message in said)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet", "darts", "nasbench201", "pooling"])
@pytest.mark.parametrize("representation", ["functional", "cka", "gradient_concat"])
def test_it_runs_on_spaces_of_any_size(tmp_path: Path, name: str, representation: Any) -> None:
    space = small_space(CONFIGS / f"{name}_small.yaml")
    sampler = PrototypeDensitySampler(
        prototypes=4, pool_size=8, warmup_steps=1, probe_size=16, rate=0.01, representation=representation
    )
    train(tmp_path, sampler, space, max_epochs=1)
    assert len(sampler.centres) == 4
    assert sampler.centres.shape[1] <= 4096
    assert int(sampler.choice_visits.sum()) == 4 * len(space.num_choices)


def test_metrics_of_a_run(tmp_path: Path) -> None:
    sampler = PrototypeDensitySampler(**{**SMALL, "rate": 0.01})
    train(tmp_path, sampler, max_epochs=5, logger=None, log_every_n_steps=4)
    rows = [row for row in short_runs.metrics(tmp_path) if row["density/tries"]]
    assert [row["step"] for row in rows] == ["11", "15", "19"]
    for row in rows:
        rate, tries = float(row["density/accept_rate"]), float(row["density/tries"])
        assert 1 <= tries <= 10
        # Four steps, each of which accepted its last proposal.
        assert rate == pytest.approx(1 / tries)
        assert 0.5 < float(row["density/effective_fraction"]) <= 1
        assert float(row["density/prototype_spread"]) > 0


def test_metrics_of_a_continued_run_are_those_of_the_whole(tmp_path: Path) -> None:
    """Interrupted between two steps that are logged, of which the rates are means."""

    def fit(root: Path, resume_from: Path | None = None) -> list[tuple[str, ...]]:
        options = {**SMALL, "warmup_steps": 4, "rate": 0.01}
        short_runs.fit(
            root, lambda: PrototypeDensitySampler(**options), resume_from=resume_from, log_every_n_steps=4
        )
        columns = ("step", "density/accept_rate", "density/tries")
        return [tuple(row[name] for name in columns) for row in short_runs.metrics(root) if row[columns[1]]]

    whole = fit(tmp_path / "whole")
    assert [step for step, *_ in whole] == ["7", "11"]
    assert fit(tmp_path / "continued", tmp_path / "whole" / "10.ckpt") == whole[1:]


class AfterWarmup(Callback):
    """Keeps the weights with which densities are measured first."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == SMALL["warmup_steps"]:
            self.weights = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}


def test_a_skipped_batch_changes_no_weight_and_counts_no_visit(tmp_path: Path) -> None:
    sampler = PrototypeDensitySampler(**SMALL, on_rejection="skip", target_accept_rate=1e-6)
    after_warmup = AfterWarmup()
    module = train(tmp_path, sampler, callbacks=[after_warmup])
    assert sampler.visits is not None
    assert sampler.visits.sum() == SMALL["warmup_steps"]
    short_runs.assert_same(dict(module.state_dict()), after_warmup.weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0.0}, r"sampler\.tau is 0\.0"),
        ({"tau": float("nan")}, r"sampler\.tau is nan"),
        (
            {"mid": "middle"},
            r"sampler\.mid is 'middle': valid are median, mean, midrange and quantiles in \(0, 1\)",
        ),
        ({"mid": 1.0}, r"sampler\.mid is 1\.0"),
        ({"target_accept_rate": 1.0}, r"sampler\.target_accept_rate is 1\.0"),
        ({"target_accept_rate": 0.5, "mid": "mean"}, "one follows from the other, give one"),
        ({"rate": 0.0}, r"sampler\.rate is 0\.0"),
        ({"rate": 1.5}, r"sampler\.rate is 1\.5"),
        ({"max_tries": 0}, r"sampler\.max_tries is 0"),
        ({"prototypes": 0}, r"sampler\.prototypes is 0"),
        ({"window": 1}, r"sampler\.window is 1"),
        (
            {"prototypes": 10, "pool_size": 9},
            r"sampler\.pool_size is 9, .* 10 prototypes: valid are numbers from 10",
        ),
        ({"refresh_every": 0}, r"sampler\.refresh_every is 0"),
        ({"warmup_steps": 0}, r"sampler\.warmup_steps is 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        PrototypeDensitySampler(**arguments)


@pytest.mark.parametrize(
    ("options", "space", "message"),
    [
        ({"warmup_steps": 12}, SPACE, "the whole run has 12 steps: valid are 1 to 11"),
        ({"probe_size": 101}, SPACE, "the validation split has 100 images"),
        (
            {"probe_size": 15},
            small_space(CONFIGS / "pooling_small.yaml"),
            r"sampler\.probe_size is 15, but batch-norm takes its statistics .*: valid are numbers from 16",
        ),
        (
            {},
            ListedSpace(SPACE, (SPACE[1],)),
            r"PrototypeDensitySampler compares paths, but model\.space has one",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_a_step(
    tmp_path: Path, options: dict[str, Any], space: SearchSpace, message: str
) -> None:
    sampler = PrototypeDensitySampler(**{**SMALL, **options})
    with pytest.raises(NASError, match=message):
        train(tmp_path, sampler, space)
    assert sampler.choice_visits.sum() == 0
