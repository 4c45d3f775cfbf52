from collections import Counter
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Literal

import pytest
import short_runs
from lightning import Trainer
from scipy.stats import chisquare
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import DeisomorphicSampler
from lightning_nas.spaces import NASBench201, NDSResNet, RestrictedSpace, SearchSpace
from lightning_nas.spaces import Path as Architecture

TRAINER = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=True)
WHOLE = NASBench201()
# 72 paths in 16 exact classes of 1 to 22, and in 26 published ones of 1 to 12.
PART = RestrictedSpace(WHOLE, ((0, 3), (0, 1, 3), (0, 1), (0, 3), (1,), (0, 1, 3)))

Mode = Literal["uniform", "representative", "lazy"]
IsoKey = Literal["canonical", "published"]
KEYS: dict[IsoKey, Callable[[Architecture], Hashable]] = {
    "canonical": WHOLE.canonical,
    "published": WHOLE.published_key,
}
KEY = pytest.mark.parametrize("iso_key", KEYS)


class Only(SupernetModule):
    """A module of which the sampler sees nothing but the space: the supernet is that of a small one."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(Toy(layers=1))
        self.space = space


def classes(space: SearchSpace, iso_key: IsoKey) -> dict[Hashable, list[Architecture]]:
    members: dict[Hashable, list[Architecture]] = {}
    for path in space:
        members.setdefault(KEYS[iso_key](path), []).append(path)
    return members


@pytest.mark.slow
@KEY
def test_classes_are_equally_likely_and_so_are_their_paths(iso_key: IsoKey) -> None:
    sampler, module = DeisomorphicSampler(iso_key=iso_key, paths=1000, seed=0), Only(PART)
    drawn = Counter(path for step in range(100) for path in sampler.choose(TRAINER, module, step))
    members = classes(PART, iso_key)
    expected = {path: 1e5 / len(members) / len(alike) for alike in members.values() for path in alike}
    assert chisquare([drawn[path] for path in expected], list(expected.values())).pvalue > 1e-3
    # Uniform sampling of paths would be found out.
    assert chisquare(list(drawn.values())).pvalue < 1e-9
    by_class = Counter(KEYS[iso_key](path) for path in drawn.elements())
    assert chisquare([by_class[key] for key in members]).pvalue > 1e-3


@KEY
def test_representatives_are_the_first_of_their_classes(iso_key: IsoKey) -> None:
    sampler = DeisomorphicSampler(mode="representative", iso_key=iso_key, paths=500, seed=0)
    drawn = Counter(path for step in range(20) for path in sampler.choose(TRAINER, Only(PART), step))
    assert drawn.keys() == {alike[0] for alike in classes(PART, iso_key).values()}
    assert chisquare(list(drawn.values())).pvalue > 1e-3


def test_representatives_leave_out_choices() -> None:
    """As the documentation warns: the first edge of NAS-Bench-201, with the published classes."""
    first = Counter(alike[0][0] for alike in classes(WHOLE, "published").values())
    shares = [first[choice] / 6466 for choice in range(5)]
    assert shares == pytest.approx([0.016, 0.109, 0.29, 0.29, 0.29], abs=5e-3)


@pytest.mark.slow
@KEY
def test_the_lazy_way_ends_in_equally_likely_classes(iso_key: IsoKey) -> None:
    sampler = DeisomorphicSampler(mode="lazy", iso_key=iso_key, paths=1000, seed=0)
    module, members = Only(PART), classes(PART, iso_key)
    sampler.choose(TRAINER, module, 0)
    assert len(sampler.representatives) == len(members)
    drawn = Counter(path for step in range(1, 101) for path in sampler.choose(TRAINER, module, step))
    assert drawn.keys() == set(sampler.representatives)
    assert chisquare(list(drawn.values())).pvalue > 1e-3


@pytest.mark.parametrize("tries", [1, 10])
@KEY
def test_the_lazy_way_written_out(iso_key: IsoKey, tries: int) -> None:
    sampler = DeisomorphicSampler(mode="lazy", iso_key=iso_key, tries=tries, paths=2, seed=1)
    module, key = Only(PART), KEYS[iso_key]
    met: list[Architecture] = []
    proposals = accepted = 0
    for step in range(250):
        rng = generator(1, Stream.PATH, step)
        expected = []
        for _ in range(2):
            for _ in range(tries):
                path = PART.sample(rng)
                proposals += 1
                if not any(key(other) == key(path) for other in met):
                    met.append(path)
                if path in met:
                    accepted += 1
                    expected.append(path)
                    break
            else:
                expected += [other for other in met if key(other) == key(path)]
        assert sampler.choose(TRAINER, module, step) == tuple(expected)
    assert (sampler.representatives, sampler.proposals, sampler.accepted) == (met, proposals, accepted)


@pytest.mark.slow
@pytest.mark.parametrize(("iso_key", "rate"), [("canonical", 4930 / 15_625), ("published", 6466 / 15_625)])
def test_acceptance_in_nasbench201(iso_key: IsoKey, rate: float) -> None:
    """Once all classes are known, .316 or .414 of the proposals."""
    sampler, module = DeisomorphicSampler(mode="lazy", iso_key=iso_key, paths=1000, seed=0), Only(WHOLE)
    sampler.representatives = [alike[-1] for alike in classes(WHOLE, iso_key).values()]
    sampler.on_fit_start(TRAINER, module)
    for step in range(20):
        sampler.choose(TRAINER, module, step)
    assert sampler.accepted == 20_000
    # Three standard deviations of 20,000 accepted among 20,000 / rate proposals.
    deviation = rate * ((1 - rate) / 20_000) ** 0.5
    assert sampler.accepted / sampler.proposals == pytest.approx(rate, abs=3 * deviation)
    assert len(sampler.representatives) == round(rate * 15_625)


def test_tries_and_rates_are_logged(tmp_path: Path) -> None:
    sampler = DeisomorphicSampler(mode="lazy", paths=3, seed=0)
    space = NASBench201(channels=1, cells=1)
    short_runs.trainer(tmp_path, sampler, limit_val_batches=0).fit(
        short_runs.supernet_module(RestrictedSpace(space, PART.allowed)), datamodule=short_runs.digits()
    )
    rows = [row for row in short_runs.metrics(tmp_path) if row["sampler/tries"]]
    assert len(rows) == 12
    assert sum(3 * float(row["sampler/tries"]) for row in rows) == pytest.approx(sampler.proposals)
    assert float(rows[-1]["sampler/accept_rate"]) == pytest.approx(36 / sampler.proposals)
    assert float(rows[-1]["sampler/classes"]) == len(sampler.representatives)
    assert sampler.accepted == 36 < sampler.proposals


@KEY
def test_classes_are_found_again_from_their_paths(iso_key: IsoKey) -> None:
    """A checkpoint holds no keys, which may be of any type."""
    straight, module = DeisomorphicSampler(mode="lazy", iso_key=iso_key, seed=0), Only(PART)
    expected = [straight.choose(TRAINER, module, step) for step in range(60)]
    before, after = (DeisomorphicSampler(mode="lazy", iso_key=iso_key, seed=0) for _ in range(2))
    first = [before.choose(TRAINER, module, step) for step in range(20)]
    after.load_state_dict(before.state_dict())
    after.on_fit_start(TRAINER, module)
    assert first + [after.choose(TRAINER, module, step) for step in range(20, 60)] == expected
    short_runs.assert_same(after.state_dict(), straight.state_dict())


@pytest.mark.parametrize("mode", ["uniform", "representative", "lazy"])
def test_without_isomorphic_paths_it_is_uniform(mode: Mode) -> None:
    sampler = DeisomorphicSampler(mode=mode, iso_key="published", paths=1000, seed=0)
    module = Only(Toy(layers=2))
    drawn = Counter(path for step in range(10) for path in sampler.choose(TRAINER, module, step))
    assert len(drawn) == 9
    assert chisquare(list(drawn.values())).pvalue > 1e-3
    assert sampler.proposals == sampler.accepted == (10_000 if mode == "lazy" else 0)


def test_keys_of_any_type_leave_a_plain_state() -> None:
    sampler = DeisomorphicSampler(mode="lazy", paths=50, seed=0)
    module = Only(NDSResNet())
    sampler.choose(TRAINER, module, 0)
    state = sampler.state_dict()
    assert all(type(choice) is int for path in state["representatives"] for choice in path)


@pytest.mark.parametrize("mode", ["uniform", "representative"])
def test_a_table_of_too_many_paths_is_refused_before_a_step(mode: Mode, tmp_path: Path) -> None:
    sampler = DeisomorphicSampler(mode=mode)
    with pytest.raises(
        NASError, match=rf"sampler\.mode is '{mode}', but the space has 5\.31e\+05 paths.*'lazy'"
    ):
        short_runs.trainer(tmp_path, sampler).fit(
            short_runs.supernet_module(Toy(layers=12)), datamodule=short_runs.digits()
        )
    assert sampler.choice_visits.sum() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tries": 0}, r"sampler\.tries is 0"), ({"paths": 0}, r"sampler\.paths is 0")],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        DeisomorphicSampler(**options)
