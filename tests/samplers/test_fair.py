import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback, LightningModule, Trainer
from scipy.stats import chisquare
from torch.nn import functional as F
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.random import Stream, generator
from lightning_nas.samplers import FairSampler
from lightning_nas.spaces import (
    AutoFormer,
    ListedSpace,
    MobileNetV2,
    NASBench1Shot1,
    NASBench201,
    Pooling,
    RestrictedSpace,
    SearchSpace,
)
from lightning_nas.spaces import Path as Architecture

TRAINER = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=True)
UNEQUAL = RestrictedSpace(Toy(layers=3), ((0, 1, 2), (1,), (0, 2)))


class Only(SupernetModule):
    """A module of which the sampler sees nothing but the space: the supernet is that of a small one."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(Toy(layers=1))
        self.space = space


def steps(sampler: FairSampler, space: SearchSpace, number: int) -> list[tuple[Architecture, ...]]:
    module = Only(space)
    return [sampler.choose(TRAINER, module, step) for step in range(number)]


def counts(paths: Any, decision: int) -> Counter[int]:
    return Counter(path[decision] for path in paths)


def test_every_operation_is_trained_once_per_step() -> None:
    space = NASBench201()
    chosen = steps(FairSampler(seed=0), space, 1000)
    for paths in chosen:
        assert len(paths) == 5
        for edge in range(6):
            assert sorted(path[edge] for path in paths) == [0, 1, 2, 3, 4]
    for edge in range(6):
        assert counts(itertools.chain(*chosen), edge) == dict.fromkeys(range(5), 1000)


def test_unequal_numbers_of_choices_differ_by_one_at_most() -> None:
    """Layers of 6 and 7 operations: 7 paths per step are even for both after 6 steps."""
    space = MobileNetV2()
    assert set(space.num_choices) == {6, 7}
    total = [Counter(dict.fromkeys(range(number), 0)) for number in space.num_choices]
    for step, paths in enumerate(steps(FairSampler(seed=0), space, 600), 1):
        assert len(paths) == 7
        for layer, counted in enumerate(total):
            counted.update(path[layer] for path in paths)
            spread = max(counted.values()) - min(counted.values())
            assert spread <= (step % 6 > 0 and len(counted) == 6)
    assert [set(counted.values()) for counted in total] == [{4200 // number} for number in space.num_choices]


def test_shuffles_written_out() -> None:
    """Draw n of a decision with m choices is entry n mod m of its shuffle n div m."""
    chosen = steps(FairSampler(paths=4, seed=3), UNEQUAL, 250)
    for draw, path in enumerate(itertools.chain(*chosen)):
        for decision, kept in enumerate(UNEQUAL.choices):
            bag, position = divmod(draw, len(kept))
            assert path[decision] == generator(3, Stream.BAG, decision, bag).permutation(kept)[position]


@pytest.mark.parametrize("paths", [1, 2, 5])
def test_any_number_of_paths_per_step_is_fair(paths: int) -> None:
    total: list[Counter[int]] = [Counter(dict.fromkeys(kept, 0)) for kept in UNEQUAL.choices]
    for path in itertools.chain(*steps(FairSampler(paths=paths, seed=0), UNEQUAL, 100)):
        for choice, counted in zip(path, total, strict=True):
            counted[choice] += 1
            assert max(counted.values()) - min(counted.values()) <= 1


def test_paths_of_a_step_differ_in_every_layer() -> None:
    for paths in steps(FairSampler(seed=0), Toy(layers=4), 50):
        assert all(len(set(column)) == 3 for column in zip(*paths, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 1, 2, None])
def test_every_path_is_equally_likely(position: int | None) -> None:
    """The first path of a step, the second, the third, and the paths of a space of unequal numbers."""
    space: SearchSpace = Toy(layers=2) if position is not None else UNEQUAL
    chosen = steps(FairSampler(seed=0), space, 33_333)
    drawn = Counter(itertools.chain(*chosen) if position is None else (paths[position] for paths in chosen))
    # Paths that are dealt from the same shuffles are not independent, but vary less in number than if they were.
    assert len(drawn) == space.size
    assert chisquare(list(drawn.values())).pvalue > 1e-3


def test_decisions_are_shuffled_independently() -> None:
    chosen = steps(FairSampler(seed=0), Toy(layers=2), 6000)
    pairings = Counter(tuple(sorted(paths)) for paths in chosen)
    assert len(pairings) == 6
    assert chisquare(list(pairings.values())).pvalue > 1e-3


def test_a_single_decision_deals_its_paths() -> None:
    space = Pooling()
    chosen = steps(FairSampler(seed=0), space, 72)
    assert all(len(paths) == 1 for paths in chosen)
    first, second = chosen[:36], chosen[36:]
    assert sorted(first) == sorted(second) == [(path,) for path in space]
    assert first != second


def test_restrictions_deal_what_they_keep() -> None:
    space = RestrictedSpace(NASBench201(), ((3,), (1, 2, 3), *((0, 4),) * 4))
    chosen = steps(FairSampler(seed=0), space, 60)
    assert all(len(paths) == 3 for paths in chosen)
    paths = list(itertools.chain(*chosen))
    assert all(map(space.is_valid, paths))
    assert counts(paths, 0) == {3: 180}
    assert counts(paths, 1) == {1: 60, 2: 60, 3: 60}
    assert counts(paths, 2) == {0: 90, 4: 90}


class Batches(Callback):
    """Remembers the batches and paths of a run, and the weights at its start."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SupernetModule)
        self.start = {name: value.clone() for name, value in pl_module.supernet.state_dict().items()}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.batches.append([tensor.clone() for tensor in batch[:2]])


@pytest.mark.slow
def test_the_algorithm_written_out(tmp_path: Path) -> None:
    """Gradients of all paths of a permutation add up, then one step: 200 times, in double precision."""
    seen = Batches()
    module = short_runs.supernet_module(
        grad_reduce="sum",
        schedule="constant",
        optimizer=lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.9),
    )
    flags = {"limit_val_batches": 0, "logger": False, "precision": "64-true", "gradient_clip_val": 5}
    trainer = short_runs.trainer(tmp_path, seen, FairSampler(seed=0), max_epochs=50, **flags)
    trainer.fit(module, datamodule=short_runs.digits())

    supernet = module.space.build_supernet().double()
    supernet.load_state_dict(seen.start)
    momentum: dict[str, torch.Tensor] = {}
    assert len(seen.batches) == 200
    for step, (images, labels) in enumerate(seen.batches):
        orders = [generator(0, Stream.BAG, layer, step).permutation(3).tolist() for layer in range(2)]
        supernet.zero_grad()
        for path in zip(*orders, strict=True):
            F.cross_entropy(supernet(images.double(), path), labels).backward()
        gradients = {name: weight.grad for name, weight in supernet.named_parameters()}
        norm = torch.cat(
            [gradient.flatten() for gradient in gradients.values() if gradient is not None]
        ).norm()
        with torch.no_grad():
            for name, weight in supernet.named_parameters():
                gradient = gradients[name]
                assert gradient is not None
                clipped = gradient * min(1.0, 5 / (float(norm) + 1e-6))
                momentum[name] = clipped + 0.9 * momentum[name] if step else clipped.clone()
                weight.sub_(momentum[name], alpha=0.01)
    for name, weight in supernet.named_parameters():
        torch.testing.assert_close(weight, module.supernet.get_parameter(name), rtol=1e-10, atol=1e-10)
        assert not torch.allclose(weight, seen.start[name], atol=1e-3)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            ListedSpace(Toy(layers=2), ((0, 0), (0, 1), (2, 1))),
            r"FairSampler combines .* but in Toy not .* after \(2,\) decision 1 cannot take choice 0",
        ),
        (
            RestrictedSpace(ListedSpace(Toy(layers=2), ((0, 0), (0, 1), (2, 1))), ((0, 2), (0, 1))),
            "in Toy not",
        ),
        (NASBench1Shot1(channels=4), "in NASBench1Shot1 not all combinations are paths"),
    ],
)
def test_dependent_decisions_are_refused_before_a_step(
    space: SearchSpace, message: str, tmp_path: Path
) -> None:
    sampler = FairSampler()
    with pytest.raises(NASError, match=message):
        short_runs.trainer(tmp_path, sampler).fit(
            short_runs.supernet_module(space), datamodule=short_runs.digits()
        )
    assert sampler.choice_visits.sum() == 0


@pytest.mark.parametrize("space", [AutoFormer(), NASBench1Shot1()], ids=["autoformer", "nasbench1shot1"])
def test_the_named_combination_is_impossible(space: SearchSpace) -> None:
    with pytest.raises(NASError) as refused:
        FairSampler().on_fit_start(TRAINER, Only(space))
    words = str(refused.value).split(": after ")[1].split("; use")[0]
    before, after = words.split(" decision ")
    decision, choice = (int(word) for word in after.split(" cannot take choice "))
    beginning = tuple(int(word) for word in before.strip("(,)").split(",") if word)
    assert len(beginning) == decision
    assert space.count(beginning) > 0
    assert choice in space.choices[decision]
    assert space.count((*beginning, choice)) == 0


@pytest.mark.parametrize(
    "space",
    [
        ListedSpace(Toy(layers=2), tuple(itertools.product((0, 2), (1, 2)))),
        RestrictedSpace(AutoFormer(depths=(1, 2)), ((0, 1), (0,), *((0, 1),) * 2, *((0,),) * 2)),
    ],
    ids=["listed", "autoformer of one depth"],
)
def test_parts_whose_choices_all_combine_are_fair(space: SearchSpace) -> None:
    sampler = FairSampler(seed=0)
    sampler.on_fit_start(TRAINER, Only(space))
    paths = list(itertools.chain(*steps(sampler, space, 200)))
    assert set(paths) == set(space)
    for decision, kept in enumerate(space.choices):
        assert counts(paths, decision) == dict.fromkeys(kept, len(paths) / len(kept))


def test_less_than_one_path_is_refused() -> None:
    with pytest.raises(NASError, match=r"sampler\.paths is 0"):
        FairSampler(paths=0)


def test_the_order_of_steps_does_not_matter() -> None:
    module = Only(UNEQUAL)
    forwards = [FairSampler(seed=5).choose(TRAINER, module, step) for step in range(20)]
    sampler = FairSampler(seed=5)
    assert [sampler.choose(TRAINER, module, step) for step in reversed(range(20))] == forwards[::-1]
    assert forwards != steps(FairSampler(seed=6), UNEQUAL, 20)


@pytest.mark.parametrize("decision", [0, 2])
def test_all_paths_of_a_step_take_the_same_choice(decision: int) -> None:
    """There fair over time; elsewhere as if the decision were not."""
    space = MobileNetV2()
    chosen = steps(FairSampler(same_choice_at=decision, seed=0), space, 42)
    assert all(len(paths) == 7 and len({path[decision] for path in paths}) == 1 for paths in chosen)
    shared = [paths[0][decision] for paths in chosen]
    number = space.num_choices[decision]
    for start in range(0, 42, number):
        assert sorted(shared[start : start + number]) == list(range(number))
    plain = steps(FairSampler(paths=7, seed=0), space, 42)
    for paths, others in zip(chosen, plain, strict=True):
        for path, other in zip(paths, others, strict=True):
            assert path[:decision] == other[:decision]
            assert path[decision + 1 :] == other[decision + 1 :]


def test_the_number_of_paths_is_that_of_the_other_decisions() -> None:
    chosen = steps(FairSampler(same_choice_at=0), RestrictedSpace(Toy(layers=2), ((0, 1, 2), (0, 2))), 10)
    assert {len(paths) for paths in chosen} == {2}
    assert {len(paths) for paths in steps(FairSampler(same_choice_at=0), Pooling(), 10)} == {1}


def test_a_decision_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"sampler\.same_choice_at is 2: valid are decisions from 0 to 1"):
        short_runs.fit(tmp_path, lambda: FairSampler(same_choice_at=2))
