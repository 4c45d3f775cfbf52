import copy
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import short_runs
import torch
from scipy.stats import chisquare
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import EvolutionSampler
from lightning_nas.samplers.evolution import best, candidates, first_fronts, first_population
from lightning_nas.spaces import (
    AutoFormer,
    ListedSpace,
    NASBench1Shot1,
    NDSResNet,
    NormPolicy,
    Pooling,
    RestrictedSpace,
    SearchSpace,
)
from lightning_nas.spaces import Path as Architecture
from lightning_nas.trainer import NASTrainer

SMALL: dict[str, Any] = {"warmup_epochs": 1, "population_size": 4, "num_candidates": 12, "num_images": 70}
TRAINER = NASTrainer(logger=False, enable_checkpointing=False, accelerator="cpu")


def fitted(
    root: Path, sampler: EvolutionSampler, space: SearchSpace, **flags: Any
) -> tuple[SupernetModule, Any]:
    module = short_runs.supernet_module(space)
    trainer = short_runs.trainer(root, sampler, **{"limit_val_batches": 0, **flags})
    trainer.fit(module, datamodule=short_runs.digits(batch_size=4, eval_batch_size=50))
    return module, trainer


# ------------------------------------------------------------------------------------ the whole algorithm


def slow_fronts(points: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Fronts of maxima of both numbers; of equal points the first is on the earlier front."""
    left, fronts = list(range(len(points))), []
    while left:
        beaten = {
            i
            for i in left
            for j in left
            if points[j] != points[i] and points[j][0] >= points[i][0] and points[j][1] >= points[i][1]
        } | {i for i in left for j in left if points[i] == points[j] and j < i}
        fronts.append([i for i in left if i not in beaten])
        left = [i for i in left if i in beaten]
    return fronts


class SlowEvolution:
    """The algorithm, written out path by path."""

    def __init__(self, select: str, every: int, share: float) -> None:
        self.select, self.every, self.share = select, every, share
        self.population: list[Architecture] = []
        self.scores: list[float] = []
        self.generations = 0

    def step(self, trainer: Any, module: SupernetModule, step: int) -> list[Architecture]:
        epoch, batch = divmod(step, 50)
        if batch == 0 and epoch in range(1, 100, self.every):
            self.evolve(trainer, module)
        rng = generator(0, Stream.PATH, step)
        paths = []
        for _ in range(2):
            if self.population and rng.random() < self.share:
                paths.append(self.population[int(rng.integers(len(self.population)))])
            else:
                paths.append(module.space.sample(rng))
        return paths

    def evolve(self, trainer: Any, module: SupernetModule) -> None:
        rng = generator(0, Stream.POPULATION, self.generations)
        while len(self.population) < 4:
            if (path := module.space.sample(rng)) not in self.population:
                self.population.append(path)
        found = list(self.population)
        while len(found) < 12:
            u = rng.random()
            if u < 0.5:
                child = module.space.sample(rng)
            else:
                first, second = (self.population[i] for i in rng.integers(4, size=2))
                crossed = u < 0.75
                child = (
                    module.space.crossover(first, second, rng) if crossed else module.space.mutate(first, rng)
                )
            if child not in found:
                found.append(child)
        scores = [self.score(trainer, module, path) for path in found]
        kept = self.keep(scores, [module.space.cost(path).params for path in found], rng)
        self.population, self.scores = [found[i] for i in kept], [scores[i] for i in kept]
        self.generations += 1

    def score(self, trainer: Any, module: SupernetModule, path: Architecture) -> float:
        network = copy.deepcopy(module.supernet).eval()
        images, labels = trainer.datamodule.validation_images(range(70))
        with torch.no_grad():
            right = [
                int(network(x[None], path).argmax()) == int(y) for x, y in zip(images, labels, strict=True)
            ]
        return 100 * sum(right) / 70

    def keep(self, scores: list[float], params: list[int], rng: np.random.Generator) -> list[int]:
        if self.select == "score":
            return sorted(range(12), key=lambda i: (-scores[i], i))[:4]
        kept: list[int] = []
        few = slow_fronts([(s, -p) for s, p in zip(scores, params, strict=True)])
        many = slow_fronts([(s, 1 / p) for s, p in zip(scores, [1 / p for p in params], strict=True)])
        for both in zip_longest(few, many, fillvalue=list[int]()):
            front = sorted(i for i in {*both[0], *both[1]} if i not in kept)
            if len(kept) + len(front) > 4:
                front = list(rng.choice(front, 4 - len(kept), replace=False))
            kept += front
        return kept


@pytest.mark.parametrize(
    ("select", "every", "share"), [("score", 1, 0.5), ("pareto", 1, 0.5), ("pareto", 2, 1.0)]
)
def test_the_algorithm(tmp_path: Path, select: Any, every: int, share: float) -> None:
    """250 steps: an epoch of warm-up, then a generation at the first step of every (second) epoch."""
    sampler = EvolutionSampler(
        **SMALL, select=select, every_n_epochs=every, population_share=share, paths=2, seed=0
    )
    slow, choose, renewed = SlowEvolution(select, every, share), sampler.choose, list[int]()

    def compared(trainer: Any, module: SupernetModule, step: int) -> Any:
        expected = slow.step(trainer, module, step)
        before = sampler.generation
        paths = choose(trainer, module, step)
        assert list(paths) == expected, step
        if sampler.generation > before:
            renewed.append(step)
            assert list(sampler.population) == slow.population
            assert sampler.scores == pytest.approx(slow.scores, abs=1e-10)
        return paths

    sampler.choose = compared  # type: ignore[method-assign]
    fitted(tmp_path, sampler, Toy(layers=3), max_epochs=5)
    assert renewed == list(range(50, 250, 50 * every))
    assert sampler.generation == len(renewed)
    rows = [row for row in short_runs.metrics(tmp_path) if row["sampler/population_best"]]
    assert [int(row["step"]) for row in rows] == renewed
    assert float(rows[-1]["sampler/population_best"]) == max(sampler.scores)
    assert float(rows[-1]["sampler/population_mean"]) == pytest.approx(np.mean(sampler.scores))


def test_steps_of_an_epoch_are_batches(tmp_path: Path) -> None:
    sampler = EvolutionSampler(**SMALL, every_n_epochs=2, seed=0)
    fitted(tmp_path, sampler, Toy(layers=3), max_epochs=4, accumulate_grad_batches=7)
    assert sampler.generation == 2


# ------------------------------------------------------------------------------------------------ its parts


def test_best_are_the_first_of_equals() -> None:
    assert best([1, 3, 2, 3, 1], 4) == [1, 3, 2, 0]


def test_fronts_are_taken_one_after_the_other() -> None:
    """By hand: for few parameters the fronts are {0, 1, 3} and {2, 4}, for many {3}, {1, 2} and {0, 4}."""
    scores, params = [90.0, 92.0, 91.0, 93.0, 89.0], [1, 2, 3, 4, 2]
    rng = np.random.default_rng(0)
    assert first_fronts(scores, params, 3, rng) == [0, 1, 3]
    assert first_fronts(scores, params, 5, rng) == [0, 1, 3, 2, 4]
    assert first_fronts(scores, params, 9, rng) == [0, 1, 3, 2, 4]
    fourth = Counter(first_fronts(scores, params, 4, rng)[3] for _ in range(200))
    assert chisquare([fourth[2], fourth[4]]).pvalue > 1e-3


def test_large_architectures_are_kept_though_underrated() -> None:
    scores, params = [90.0, 85.0, 50.0], [5, 5, 9]
    assert best(scores, 2) == [0, 1]
    assert first_fronts(scores, params, 2, np.random.default_rng(0)) == [0, 2]


class Spy(Toy):
    """Counts the ways in which paths are made, and the first parents."""

    def begin(self) -> None:
        object.__setattr__(self, "ways", Counter[str]())
        object.__setattr__(self, "parents", Counter[Architecture]())

    def sample(self, rng: np.random.Generator) -> Architecture:
        self.ways["random"] += 1
        return super().sample(rng)

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        self.ways["crossover"] += 1
        self.parents.update([first, second])
        return super().crossover(first, second, rng)

    def mutate(self, path: Architecture, rng: np.random.Generator, probability: float = 0.1) -> Architecture:
        self.ways["mutation"] += 1
        self.parents.update([path])
        return super().mutate(path, rng, probability)

    ways: Counter[str]
    parents: Counter[Architecture]


def test_half_is_random_and_a_quarter_each_crossover_and_mutation() -> None:
    space, rng = Spy(layers=60), np.random.default_rng(0)
    space.begin()
    population = first_population(space, 10, rng)
    space.begin()
    found = candidates(space, population, 10_010, rng)
    assert found[:10] == population
    assert len(set(found)) == 10_010
    drawn = sum(space.ways.values())
    observed = [space.ways[way] for way in ("random", "crossover", "mutation")]
    assert chisquare(observed, [drawn / 2, drawn / 4, drawn / 4]).pvalue > 1e-3
    assert chisquare([space.parents[path] for path in population]).pvalue > 1e-3


@pytest.mark.parametrize("size", [26, 27, 28])
def test_small_spaces_become_candidates_as_a_whole(size: int) -> None:
    space, rng = Toy(layers=3), np.random.default_rng(0)
    population = first_population(space, 5, rng)
    assert len(set(population)) == 5
    assert len(set(candidates(space, population, size, rng))) == min(size, 27)
    assert first_population(space, 100, rng) == tuple(space)


@pytest.mark.parametrize(
    "space",
    [
        AutoFormer(),
        NASBench1Shot1(),
        NDSResNet(),
        RestrictedSpace(NASBench1Shot1(), NASBench1Shot1().choices),
        ListedSpace(Toy(layers=4), tuple(Toy(layers=4))[::2]),
        Pooling(),
    ],
    ids=lambda space: type(space).__name__,
)
def test_candidates_of_every_kind_of_space(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    population = first_population(space, 10, rng)
    found = candidates(space, population, 30, rng)
    assert len(set(found)) == 30
    assert set(population) < set(found)
    assert all(space.is_valid(path) for path in found)


def test_paths_come_from_the_population_and_from_the_space() -> None:
    space = Toy(layers=2)
    sampler = EvolutionSampler(population_share=0.3, paths=1000, seed=0)
    sampler.population, sampler.generation = (space[2], space[5]), 1
    module = SupernetModule(space)
    counts = Counter[Architecture](
        path for step in range(100) for path in sampler.choose(TRAINER, module, step)
    )
    expected = [1e5 * (0.7 / 9 + 0.15 * (i in (2, 5))) for i in range(9)]
    assert chisquare([counts[path] for path in space], expected).pvalue > 1e-3


def test_a_whole_share_trains_the_population_alone() -> None:
    space = Toy(layers=2)
    sampler = EvolutionSampler(population_share=1.0, paths=1000, seed=0)
    sampler.population, sampler.generation = (space[2], space[5]), 1
    assert set(sampler.choose(TRAINER, SupernetModule(space), 0)) == {space[2], space[5]}


def test_a_space_smaller_than_the_population_is_the_population(tmp_path: Path) -> None:
    sampler = EvolutionSampler(warmup_epochs=1, every_n_epochs=1, seed=0)
    fitted(tmp_path, sampler, Toy(layers=2), max_epochs=2)
    assert set(sampler.population) == set(Toy(layers=2))
    assert list(sampler.scores) == sorted(sampler.scores, reverse=True)


@pytest.mark.parametrize("running_stats", [False, True])
def test_scores_are_those_of_batches_of_equal_size(tmp_path: Path, running_stats: bool) -> None:
    """70 images in batches of at most 50 are two of 35; statistics are those of the batch in any case."""
    space = Pooling(blocks=(1, 1, 1), channels=(4, 4, 6))
    sampler = EvolutionSampler(**SMALL, seed=0)
    module = short_runs.supernet_module(space, norm=NormPolicy(running_stats=running_stats))
    trainer = short_runs.trainer(tmp_path, sampler, max_epochs=2, limit_val_batches=0)
    trainer.fit(module, datamodule=short_runs.digits(eval_batch_size=50))
    sampler.begin()  # the next generation is due now, and scored with the final weights
    sampler.choose(trainer, module, 0)
    images, labels = trainer.datamodule.validation_images(range(70))  # type: ignore[attr-defined]
    module.supernet.train()
    for path, score in zip(sampler.population, sampler.scores, strict=True):
        with torch.no_grad():
            right = [
                (module.supernet(x, path).argmax(1) == y).sum()
                for x, y in ((images[:35], labels[:35]), (images[35:], labels[35:]))
            ]
        assert score == pytest.approx(100 * float(sum(right)) / 70, abs=1e-10)


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup_epochs": 0}, r"sampler\.warmup_epochs is 0: scores of an untrained supernet"),
        ({"every_n_epochs": 0}, r"sampler\.every_n_epochs is 0: valid are numbers from 1"),
        ({"population_size": 0}, r"sampler\.population_size is 0: valid are numbers from 1"),
        ({"num_images": 0}, r"sampler\.num_images is 0: valid are numbers from 1"),
        ({"num_candidates": 100}, r"sampler\.num_candidates is 100, but sampler\.population_size is 100"),
        ({"select": "loss"}, r"sampler\.select is 'loss': valid are score, pareto"),
        ({"population_share": 0.0}, r"sampler\.population_share is 0\.0: valid are numbers above 0 up to 1"),
        ({"population_share": 1.1}, r"sampler\.population_share is 1\.1"),
        ({"population_share": float("nan")}, r"sampler\.population_share is nan"),
        ({"paths": 0}, r"sampler\.paths is 0: a step trains at least one path"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        EvolutionSampler(**arguments)


@pytest.mark.parametrize(
    "flags",
    [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 100}, {"max_epochs": 9, "max_steps": 100}],
    ids=["epochs", "steps", "both"],
)
def test_a_run_that_ends_before_the_evolution_is_refused(tmp_path: Path, flags: dict[str, int]) -> None:
    sampler = EvolutionSampler(warmup_epochs=2)
    with pytest.raises(NASError, match=r"sampler\.warmup_epochs is 2, but the whole run has 2 epochs"):
        fitted(tmp_path, sampler, Toy(layers=2), **flags)
    assert sampler.visits is not None
    assert sampler.visits.sum() == 0


def test_images_are_needed(tmp_path: Path) -> None:
    module, loader = short_runs.supernet_module(), short_runs.digits().train_dataloader()
    trainer = short_runs.trainer(tmp_path, EvolutionSampler(warmup_epochs=1), limit_val_batches=0)
    with pytest.raises(NASError, match="pass an ImageDataModule to the Trainer"):
        trainer.fit(module, train_dataloaders=loader, val_dataloaders=loader)


@pytest.mark.parametrize(
    "changed", [{"select": "pareto"}, {"population_share": 1.0}, {"num_images": 5}, {"every_n_epochs": 5}]
)
def test_a_run_is_not_continued_with_other_options(changed: dict[str, Any]) -> None:
    state = EvolutionSampler(seed=0).state_dict()
    [(key, value)] = changed.items()
    with pytest.raises(NASError, match=rf"trained with sampler\.{key} .*, but now sampler\.{key} is {value}"):
        EvolutionSampler(seed=0, **changed).load_state_dict(state)
