"""All search algorithms, with a table as the supernet."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.evaluation import PartialScores
from lightning_nas.search import (
    NSGA2,
    AgingEvolution,
    Boltzmann,
    Evaluation,
    Evolution,
    Exhaustive,
    FeasibleSpace,
    Limits,
    RandomSearch,
    SearchAlgorithm,
    run,
)
from lightning_nas.search.boltzmann import softmax
from lightning_nas.search.runner import ASKED
from lightning_nas.spaces import ListedSpace, NASBench1Shot1, NASBench201, RestrictedSpace, SearchSpace
from lightning_nas.spaces import Path as Architecture

ALGORITHMS: dict[str, Callable[[], SearchAlgorithm]] = {
    "exhaustive": Exhaustive,
    "random": lambda: RandomSearch(evaluations=320),
    "evolution": lambda: Evolution(population_size=20, generations=5, num_mutations=10, num_crossovers=10),
    "aging": lambda: AgingEvolution(evaluations=120, population_size=20, sample_size=5),
    "boltzmann": lambda: Boltzmann(evaluations=120),
    "nsga2": lambda: NSGA2(population_size=20, generations=5),
}
SMALL = Toy(layers=5)
CELL = NASBench201(channels=4, cells=1)


def score_of(space: SearchSpace, path: Architecture) -> float:
    """A made-up accuracy, in which good choices are good everywhere, with a ruggedness of its own."""
    rugged = np.random.default_rng([abs(hash(path)) % 2**32]).random()
    return 100 * (sum(path) / sum(n - 1 for n in space.num_choices)) ** 2 * 0.9 + 10 * rugged


class TableScorer:
    """Scores that are known beforehand, by path."""

    def __init__(self, scores: dict[Architecture, float]) -> None:
        self._scores = scores

    def score(self, paths: Sequence[Architecture], batch: int | None) -> list[float]:
        return [self._scores[path] for path in paths]

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


class Scored(dict[Architecture, float]):
    """Scores of a space that is too large for a table."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space

    def __missing__(self, path: Architecture) -> float:
        self[path] = score_of(self.space, path)
        return self[path]


def search(
    algorithm: SearchAlgorithm, space: SearchSpace, seed: int = 0, limits: Limits | None = None
) -> list[Evaluation]:
    constraints = (limits or Limits()).constraints(space)
    algorithm.begin(FeasibleSpace(space, constraints), seed)
    return run(algorithm, TableScorer(Scored(space)))


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("space", [SMALL, CELL, NASBench1Shot1(channels=2)], ids=["toy", "nb201", "1shot1"])
def test_every_algorithm_asks_for_valid_paths_within_its_budget(name: str, space: SearchSpace) -> None:
    if name == "exhaustive" and space is not SMALL:
        space = ListedSpace(space, tuple(space[i] for i in range(0, space.size, space.size // 50)))
    algorithm = ALGORITHMS[name]()
    record = search(algorithm, space)
    assert 0 < len(record) <= algorithm.budget
    assert all(space.is_valid(evaluation.path) for evaluation in record)
    final = [space.functional_key(e.path) for e in record if not e.one_batch]
    assert len(set(final)) == len(final), "a function was scored twice"
    assert algorithm.top(1)[0] in {evaluation.path for evaluation in record}
    assert algorithm.scores[algorithm.top(1)[0]] == max(algorithm.scores.values())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_equal_seeds_search_alike_and_others_do_not(name: str) -> None:
    first, again, other = (
        search(ALGORITHMS[name](), CELL if name != "exhaustive" else SMALL, seed) for seed in (3, 3, 4)
    )
    assert first == again
    assert (first == other) == (name == "exhaustive")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_limit_is_ever_violated(name: str) -> None:
    costs = sorted(SMALL.cost(path).params for path in SMALL)
    limits = Limits(min_params=costs[20], max_params=costs[120])
    for evaluation in search(ALGORITHMS[name](), SMALL, limits=limits):
        assert costs[20] <= SMALL.cost(evaluation.path).params <= costs[120]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_restricted_space_is_never_left(name: str) -> None:
    part = RestrictedSpace(CELL, ((0, 3), (1, 3), (0, 1, 2), (2, 3), (3, 4), (1, 4)))
    assert all(part.is_valid(evaluation.path) for evaluation in search(ALGORITHMS[name](), part))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_list_of_paths_is_never_left(name: str) -> None:
    part = ListedSpace(CELL, tuple(CELL[i] for i in range(0, CELL.size, 30)))
    assert all(part.is_valid(evaluation.path) for evaluation in search(ALGORITHMS[name](), part))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_search_ends_where_nothing_new_is_left(name: str) -> None:
    part = RestrictedSpace(SMALL, ((0,), (1, 2), (0, 1), (0,), (0,)))
    record = search(ALGORITHMS[name](), part)
    scored = {evaluation.path for evaluation in record}
    assert scored == set(part)


def test_the_last_path_is_found_that_chance_would_miss() -> None:
    space = Toy(layers=10)
    algorithm = RandomSearch()
    algorithm.begin(FeasibleSpace(space), seed=0)
    last = space[31415]
    for path in space:
        assert path == last or algorithm.take(path)
    assert algorithm.take_randoms(2, algorithm.rng(0)) == [last]


class Interrupted(TableScorer):
    """Is interrupted at a certain question."""

    def __init__(self, scores: dict[Architecture, float], question: int) -> None:
        super().__init__(scores)
        self.left = question
        self.batches: list[int | None] = []

    def score(self, paths: Sequence[Architecture], batch: int | None) -> list[float]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.batches.append(batch)
        return super().score(paths, batch)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_an_interrupted_search_ends_as_if_it_had_not_been(name: str, share: float, tmp_path: Path) -> None:
    space = Toy(layers=7) if name == "exhaustive" else CELL

    def begin() -> SearchAlgorithm:
        algorithm = ALGORITHMS[name]()
        algorithm.begin(FeasibleSpace(space), seed=1)
        return algorithm

    counting = Interrupted(Scored(space), -1)
    straight = run(begin(), counting)
    assert len(counting.batches) > 2
    numbers = [batch for batch in counting.batches if batch is not None]
    assert numbers == list(range(len(numbers)))
    partial = PartialScores(tmp_path / "search.partial", {"seed": 1})
    before = Interrupted(Scored(space), int(share * len(counting.batches)))
    with pytest.raises(KeyboardInterrupt):
        run(begin(), before, partial)
    after = Interrupted(Scored(space), -1)
    shown: list[int] = []
    assert run(begin(), after, partial, show=lambda record: shown.append(len(record))) == straight
    assert shown[0] > 0
    assert before.batches + after.batches == counting.batches


def test_a_record_of_another_search_is_refused(tmp_path: Path) -> None:
    partial = PartialScores(tmp_path / "search.partial", {})
    one, other = RandomSearch(10), RandomSearch(10)
    one.begin(FeasibleSpace(SMALL), seed=0)
    other.begin(FeasibleSpace(SMALL), seed=1)
    run(one, TableScorer(Scored(SMALL)), partial)
    with pytest.raises(NASError, match="asked for other paths"):
        run(other, TableScorer(Scored(SMALL)), partial)


def test_exhaustive_search_scores_every_function_once() -> None:
    record = search(Exhaustive(), RestrictedSpace(CELL, ((0, 1),) * 6))
    part = RestrictedSpace(CELL, ((0, 1),) * 6)
    assert {part.functional_key(e.path) for e in record} == {part.functional_key(path) for path in part}


def test_spaces_beyond_enumeration_are_refused_by_exhaustive_search() -> None:
    with pytest.raises(NASError, match="100000 can be looked at"):
        search(Exhaustive(), Toy(layers=12))


def test_generations_of_an_evolution_descend_from_the_best() -> None:
    """Against the loop as the paper prints it: children differ from the ten best before them in few decisions."""
    space = Toy(layers=12)
    algorithm = Evolution(
        population_size=20,
        generations=3,
        num_parents=4,
        num_mutations=10,
        num_crossovers=10,
        mutation_probability=0.1,
    )
    record = search(algorithm, space)
    assert len(record) == 80
    for generation in (1, 2, 3):
        earlier = record[: 20 * generation]
        parents = [e.path for e in sorted(earlier, key=lambda e: -e.score)[:4]]
        mutated, crossed = (record[20 * generation :][part] for part in (slice(10), slice(10, 20)))
        distances = [
            min(sum(a != b for a, b in zip(e.path, p, strict=True)) for p in parents) for e in mutated
        ]
        assert np.mean(distances) < 3  # 12 decisions, of which .1 * 2/3 change; a random path is at 7
        for child in crossed:
            assert all(choice in {parent[i] for parent in parents} for i, choice in enumerate(child.path))


def test_the_last_generation_is_among_the_best_too() -> None:
    """The released code of SPOS forgets it."""
    algorithm = Evolution(population_size=10, generations=1, num_mutations=5, num_crossovers=5)
    algorithm.begin(FeasibleSpace(SMALL), seed=0)
    first = algorithm.ask(100)
    algorithm.tell(first, [1.0] * len(first))
    last = algorithm.ask(100)
    algorithm.tell(last, [2.0 + i for i in range(len(last))])
    assert algorithm.top(1) == [last[-1]]
    assert algorithm.ask(100) == []


def test_a_generation_may_be_asked_for_in_parts() -> None:
    def paths(n: int) -> list[Architecture]:
        algorithm = Evolution(population_size=12, generations=2, num_mutations=6, num_crossovers=6)
        algorithm.begin(FeasibleSpace(CELL), seed=0)
        found: list[Architecture] = []
        while asked := algorithm.ask(n):
            algorithm.tell(asked, [score_of(CELL, path) for path in asked])
            found += asked
        return found

    assert paths(5) == paths(ASKED)


def test_the_oldest_die_in_an_aging_evolution() -> None:
    algorithm = AgingEvolution(evaluations=60, population_size=10, sample_size=10**6)
    record = search(algorithm, Toy(layers=8))
    assert list(algorithm.population) == [e.path for e in record[-10:]]
    for number in range(10, 60):
        # With so large a sample the parent is the best of the ten before.
        parent = max(record[number - 10 : number], key=lambda e: e.score).path
        changed = sum(a != b for a, b in zip(parent, record[number].path, strict=True))
        assert changed == 1


def test_probabilities_and_averages_of_boltzmann_exploration() -> None:
    """The vectors of methods.md 10.4."""
    values = np.array([0.90, 0.92, 0.88])
    assert softmax(values, 10).tolist() == pytest.approx([0.328933, 0.401760, 0.269307], abs=1e-6)
    assert softmax(values, 100).tolist() == pytest.approx([0.117310, 0.866813, 0.015876], abs=1e-6)
    algorithm = Boltzmann(evaluations=100)
    algorithm.begin(FeasibleSpace(SMALL), seed=0)
    [path] = algorithm.ask(1)
    algorithm.tell([path], [90.0])
    assert algorithm.value(path) == pytest.approx(0.90)
    algorithm.tell([path], [95.0])
    assert algorithm.value(path) == pytest.approx(0.905)


def test_few_functions_are_visited_once_before_any_is_again() -> None:
    algorithm = Boltzmann()
    record = search(algorithm, SMALL)
    functions = len({SMALL.functional_key(path) for path in SMALL})
    assert len({e.path for e in record[:functions]}) == functions
    assert len([e for e in record if e.one_batch]) == min(5000, 10 * functions)
    assert [e.one_batch for e in record[-10:]] == [False] * 10


def test_boltzmann_exploration_settles_on_good_paths() -> None:
    algorithm = Boltzmann(evaluations=1500)
    record = search(algorithm, CELL)
    final = [algorithm.value(e.path) for e in record if not e.one_batch]
    record = [e for e in record if e.one_batch]
    assert final[0] == max(algorithm.value(e.path) for e in record)
    assert np.mean([e.score for e in record[-300:]]) > np.mean([e.score for e in record[:300]]) + 20


def test_boltzmann_exploration_learns_within_limits_that_few_paths_satisfy() -> None:
    """One in ten thousand paths has at most four layers of sixteen; the best have them in the first half."""
    space = Toy(layers=16)
    limits = Limits(max_params=space.cost((1,) * 4 + (0,) * 12).params)
    algorithm = Boltzmann(evaluations=400)
    algorithm.begin(FeasibleSpace(space, limits.constraints(space)), seed=0)
    rewards: list[float] = []
    while algorithm.one_batch:
        [path] = algorithm.ask(1)
        rewards.append(25.0 * sum(choice > 0 for choice in path[:8]))
        algorithm.tell([path], rewards[-1:])
    assert np.mean(rewards[:50]) < 85
    assert np.mean(rewards[-100:]) > 95


def test_boltzmann_exploration_scores_no_function_twice_in_the_end() -> None:
    class Sorted(Toy):
        """Its layers may change places."""

        def functional_key(self, path: Architecture) -> Architecture:
            return tuple(sorted(path))

    record = search(Boltzmann(evaluations=50, num_rescored=50), Sorted(layers=12))
    final = [tuple(sorted(e.path)) for e in record if not e.one_batch]
    assert set(final) == {tuple(sorted(e.path)) for e in record}
    assert len(final) == len(set(final))


def test_nsga2_breeds_from_the_ends_of_a_front_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Toy(layers=12)
    algorithm = NSGA2(population_size=20)
    algorithm.begin(FeasibleSpace(space), seed=0)
    first = algorithm.ask(100)
    macs = [space.cost(path).macs for path in first]
    # Whoever costs more is better: one front.
    algorithm.tell(first, [float(cost) for cost in macs])
    parents: list[Architecture] = []

    def crossed(_: Toy, one: Architecture, other: Architecture, __: object) -> Architecture:
        parents.extend((one, other))
        return one

    monkeypatch.setattr(Toy, "crossover", crossed)
    algorithm.ask(100)
    ends = {first[macs.index(min(macs))], first[macs.index(max(macs))]}
    share = sum(path in ends for path in parents) / len(parents)
    assert share > 2 / 20, "chance alone gives as much"


def test_nsga2_finds_a_better_front_than_chance() -> None:
    from lightning_nas.ranking.pareto import pareto_front

    space = Toy(layers=12)

    def area(record: list[Evaluation]) -> float:
        macs = [space.cost(e.path).macs for e in record]
        scores = [e.score for e in record]
        front = pareto_front(scores, macs)
        low, high = sorted(space.cost(path).macs for path in (space[0], space[space.size - 1]))
        steps = np.searchsorted(np.array(macs)[front], np.linspace(low, high, 50), side="right") - 1
        return float(np.mean(np.array(scores)[front][steps.clip(0)]))

    found = [search(NSGA2(population_size=30, generations=9), space, seed) for seed in range(5)]
    chance = [search(RandomSearch(300), space, seed) for seed in range(5)]
    assert np.mean([area(r) for r in found]) > np.mean([area(r) for r in chance]) + 5


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: RandomSearch(0), "evaluations is 0"),
        (lambda: Evolution(num_mutations=40), "more than algorithm.population_size 50"),
        (lambda: Evolution(mutation_probability=0), "mutation_probability is 0"),
        (lambda: AgingEvolution(evaluations=10), "population_size alone is 50"),
        (lambda: Boltzmann(decay=1), "decay is 1"),
        (lambda: Boltzmann(sharpness=0), "sharpness is 0"),
        (lambda: NSGA2(population_size=1), "population_size is 1"),
        (lambda: search(NSGA2(cost="latency"), SMALL), "table of latencies"),
    ],
)
def test_wrong_arguments_are_refused(build: Callable[[], object], said: str) -> None:
    with pytest.raises(NASError, match=said):
        build()
