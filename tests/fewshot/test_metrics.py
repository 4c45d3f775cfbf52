import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from short_runs import digits
from torch import Tensor, nn
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.fewshot import (
    Estimated,
    EveryChoice,
    GradientMatching,
    LegacyS4,
    Mixture,
    ParameterCount,
    Plan,
    RandomSplit,
    SplitMetric,
    Subject,
    split,
)
from lightning_nas.fewshot.metrics import Fork, cell_weights, count_weights
from lightning_nas.spaces import (
    CellSupernet,
    Cost,
    NASBench201,
    NormPolicy,
    ParameterSlice,
    Path,
    Pooling,
    SearchSpace,
)
from lightning_nas.zeroshot import Estimator, LinearRegions, Snip

NONE, SKIP, CONV_1X1, CONV_3X3, POOL = range(5)
SMALL = NASBench201(channels=2, cells=1, in_channels=1, image_size=8)


@dataclass(frozen=True)
class Turns(SearchSpace):
    """Two numbers as they are, negated or swapped, and then a matrix or nothing."""

    num_classes: int = 2
    in_channels: int = 1
    image_size: int = 2

    @property
    def num_choices(self) -> tuple[int, ...]:
        return (3, 2)

    def encode(self, path: Path) -> str:
        return "".join(map(str, path))

    def decode(self, text: str) -> Path:
        return tuple(map(int, text))

    def cost(self, path: Path) -> Cost:
        return Cost(0, 0)

    def _supernet(self, norm: NormPolicy) -> "TurnsSupernet":
        return TurnsSupernet(self, norm)

    def _standalone(self, path: Path, norm: NormPolicy) -> nn.Module:
        raise NotImplementedError


class TurnsSupernet(CellSupernet):
    def __init__(self, space: Turns, norm: NormPolicy) -> None:
        super().__init__(space, norm)
        self.matrix = nn.Linear(2, 2, bias=False)
        nn.init.zeros_(self.matrix.weight)

    def choice_parameters(self, decision: int, choice: int) -> list[ParameterSlice]:
        return [ParameterSlice(part) for part in self.matrix.parameters() if (decision, choice) == (1, 0)]

    def forward(self, x: Tensor, path: Path) -> Tensor:
        return self.forward_mixture(x, [torch.eye(3)[path[0]], torch.eye(2)[path[1]]])

    def forward_mixture(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        turned = weights[0][0] * x - weights[0][1] * x + weights[0][2] * x.flip(1)
        return torch.as_tensor(weights[1][0] * self.matrix(turned) + weights[1][1] * turned)


class Pairs:
    """Images are pairs of numbers; the second is (3, 1) of class 1."""

    def __init__(self, *images: tuple[float, float]) -> None:
        self.images = torch.tensor(images)
        self.training_labels = torch.arange(len(images)) % 2

    def training_images(self, number: int) -> tuple[Tensor, Tensor]:
        return self.images[:number], self.training_labels[:number]


def subject_of(
    space: SearchSpace, norm: NormPolicy | None = None, data: Any = None, seed: int = 0
) -> Subject:
    torch.manual_seed(0)
    return Subject(space, space.build_supernet(norm=norm or NormPolicy()), data or digits(), seed)


def fork_of(space: SearchSpace, decision: int = 0, number: int = 2, balanced: bool = False) -> Fork:
    return Fork(space, decision, space.choices[decision], number, balanced, ())


# Whatever the matrix and the class, gradients are as alike as what the matrix is given: (1, 2), (-1, -2) and (2, 1).
TURNED = np.array([[1, -1, 0.8], [-1, 1, -0.8], [0.8, -0.8, 1]])


@pytest.mark.parametrize("of", ["loss", "logits"])
def test_gradients_of_a_network_that_is_known(of: Any) -> None:
    subject = subject_of(Turns(), data=Pairs((1, 2)))
    metric = GradientMatching(of=of, batches=1, batch_size=1)
    similarity, values = metric.compare(subject, fork_of(subject.space))
    np.testing.assert_allclose(similarity, TURNED, atol=1e-6)
    assert values is None
    division = metric.divide(subject, fork_of(subject.space))
    assert division.groups == ((1,), (0, 2))
    assert division.separation == pytest.approx(2 + 1.8)


def test_cosines_are_averaged_over_batches() -> None:
    subject = subject_of(Turns(), data=Pairs((1, 2), (3, 1)))
    similarity, _ = GradientMatching(batches=2, batch_size=1).compare(subject, fork_of(subject.space))
    assert similarity[0, 2] == pytest.approx((0.8 + 0.6) / 2)
    everything, _ = GradientMatching(batch_size=1).compare(subject, fork_of(subject.space))
    np.testing.assert_array_equal(everything, similarity)


@pytest.mark.parametrize("of", ["loss", "logits"])
def test_gradients_are_those_of_the_published_objectives(of: Any) -> None:
    subject = subject_of(SMALL, NormPolicy(affine=True, running_stats=True))
    images, labels = subject.data.training_images(16)
    fork = fork_of(SMALL, decision=1)
    similarity, _ = GradientMatching(of=of, batches=1, batch_size=16).compare(subject, fork)
    gradients = []
    for option in fork.options:
        network = Mixture(copy.deepcopy(subject.supernet), fork.with_only(option)).train(of == "loss")
        logits = network(images)
        objective = torch.nn.functional.cross_entropy(logits, labels) if of == "loss" else logits.sum()
        weights: Sequence[Tensor] = cell_weights(network.supernet, 1)
        if of == "logits":
            weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        found = torch.autograd.grad(objective, weights, allow_unused=True, materialize_grads=True)
        gradients.append(torch.cat([gradient.flatten() for gradient in found]).double())
    units = torch.stack([gradient / gradient.norm() for gradient in gradients])
    np.testing.assert_allclose(similarity, (units @ units.T).numpy(), atol=1e-5)
    assert similarity.min() < 0.999


def test_gradients_that_are_not_finite_divide_nothing() -> None:
    subject = subject_of(Turns(), data=Pairs((float("nan"), 2)))
    with pytest.raises(NASError, match="gradients of decision 0 are not finite"):
        GradientMatching(batches=1, batch_size=1).divide(subject, fork_of(subject.space))


@pytest.mark.parametrize("options", [{"batches": 0}, {"batch_size": -1}])
def test_batches_are_at_least_one(options: dict[str, int]) -> None:
    [(name, number)] = options.items()
    for metric in (GradientMatching, partial(Estimated, Snip())):
        with pytest.raises(NASError, match=f"metric.{name} is {number}: valid are numbers from 1"):
            metric(**options)  # type: ignore[arg-type]


def test_gradients_of_the_decision_itself_do_not_count() -> None:
    subject = subject_of(Turns(), data=Pairs((1, 2)))
    with pytest.raises(NASError, match="all weights of the cells belong to decision 1"):
        GradientMatching(batches=1, batch_size=1).divide(subject, fork_of(subject.space, decision=1))
    supernet = SMALL.build_supernet()
    names = {id(weight): name for name, weight in supernet.named_parameters()}
    kept = [names[id(weight)] for weight in cell_weights(supernet, 0)]
    assert {name.split(".")[1] for name in kept} == {"1", "2", "3", "4", "5"}  # neither stem nor head
    own = {id(part.parameter) for choice in range(5) for part in supernet.choice_parameters(0, choice)}
    assert own
    assert not own & {id(weight) for weight in cell_weights(supernet, 0)}


@pytest.mark.parametrize(
    "metric",
    [
        GradientMatching(batches=1),
        GradientMatching("logits"),
        Estimated(Snip(), batches=2),
        LegacyS4("synflow"),
    ],
)
def test_a_metric_leaves_the_supernet_alone(metric: SplitMetric) -> None:
    subject = subject_of(SMALL, NormPolicy(affine=True, running_stats=True))
    before = {name: value.clone() for name, value in subject.supernet.state_dict().items()}
    state = torch.get_rng_state()
    metric.divide(subject, fork_of(SMALL))
    assert all(torch.equal(value, before[name]) for name, value in subject.supernet.state_dict().items())
    assert all(weight.grad is None for weight in subject.supernet.parameters())
    assert subject.supernet.training
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_of_the_published_supernet() -> None:
    subject = subject_of(NASBench201(), NormPolicy(affine=True))
    assert count_weights(subject.supernet, subject.space.choices) == 1_699_546
    for decision in range(6):
        fork = fork_of(subject.space, decision)
        counts = [count_weights(subject.supernet, fork.with_only(option)) for option in range(5)]
        assert counts == [1_428_506, 1_428_506, 1_456_506, 1_671_546, 1_428_506]
    division = ParameterCount().divide(subject, fork_of(subject.space))
    assert division.values is not None
    assert np.round(division.values, 5).tolist() == [-0.15948, -0.15948, -0.143, -0.01647, -0.15948]
    assert division.groups == ((CONV_3X3,), (NONE, SKIP, CONV_1X1, POOL))


def test_weights_that_are_sizes_are_counted_in_part() -> None:
    subject = subject_of(Toy(layers=2, width=4))
    whole = count_weights(subject.supernet, subject.space.choices)
    assert whole == sum(weight.numel() for weight in subject.supernet.parameters())
    assert whole - count_weights(subject.supernet, ((0, 1), (0, 1, 2))) == 4 * 4 + 4
    assert whole - count_weights(subject.supernet, ((0, 1), (0,))) == 3 * (4 * 4 + 4)


@dataclass(frozen=True)
class SumOfLogits(Estimator):
    title = "sum"
    times: float = 1.0

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        return self.times * float(network(images).sum().detach())


def test_an_estimator_looks_at_the_mixture() -> None:
    # With a matrix of zeros, a half of what decision 0 makes of (1, 2) is left; of all three that is a third of (2, 1).
    subject = subject_of(Turns(), data=Pairs((1, 2)))
    metric = Estimated(SumOfLogits(), batch_size=1)
    similarity, values = metric.compare(subject, fork_of(subject.space))
    assert values == pytest.approx([2, -4, 2])  # of 0.5: 1.5, -1.5 and 1.5
    assert similarity[0].tolist() == pytest.approx([0, -6, 0])


def test_what_cannot_be_compared_is_refused() -> None:
    subject = subject_of(Turns(), data=Pairs((1, 2)))
    for times in (0.0, float("nan")):
        with pytest.raises(NASError, match="cannot be compared: choose another metric"):
            Estimated(SumOfLogits(times), batch_size=1).divide(subject, fork_of(subject.space))
    with pytest.raises(NASError, match="looks at 2 batches of 16, but there are 1 training images"):
        Estimated(SumOfLogits(), batches=2).divide(subject, fork_of(subject.space))


def test_a_chain_of_layers_has_weights_but_no_mixture() -> None:
    subject = subject_of(Toy())
    assert ParameterCount().divide(subject, fork_of(subject.space)).groups == ((0,), (1, 2))
    for metric in (GradientMatching(), Estimated(Snip())):
        with pytest.raises(NASError, match="ToySupernet cannot run a mixture"):
            metric.divide(subject, fork_of(subject.space))


def test_too_many_choices_are_refused_where_all_cuts_are_tried() -> None:
    space = Pooling(channels=(4, 4, 4), in_channels=1, image_size=8)
    with pytest.raises(NASError, match="decision 0 has 36 choices, but the metric ParameterCount tries all"):
        ParameterCount().divide(subject_of(space), fork_of(space))
    assert len(EveryChoice().divide(subject_of(space), fork_of(space)).groups) == 36


def test_random_groups_follow_the_seed() -> None:
    subjects = [subject_of(SMALL, seed=seed) for seed in (0, 0, 1, 2, 3)]
    found = [RandomSplit().divide(subject, fork_of(SMALL)).groups for subject in subjects]
    assert found[0] == found[1]
    assert len(set(found)) > 2
    assert {len(groups) for groups in found} == {2}
    halves = RandomSplit().divide(subjects[0], fork_of(SMALL, balanced=True)).groups
    assert sorted(map(len, halves)) == [2, 3]
    places = {RandomSplit().divide(subjects[0], replace_place(fork_of(SMALL), (i,))).groups for i in range(5)}
    assert len(places) > 1


def replace_place(fork: Fork, place: tuple[int, ...]) -> Fork:
    return fork._replace(place=place)


NONE_OR_NOT = [((NONE,), (SKIP, CONV_1X1, CONV_3X3, POOL))] * 2
CONV_OR_NOT = ((CONV_3X3,), (NONE, SKIP, CONV_1X1, POOL))


@pytest.mark.parametrize(
    ("metric", "groups"),
    [
        (LegacyS4("params"), [CONV_OR_NOT, *NONE_OR_NOT]),
        (LegacyS4("linear_regions"), [NONE_OR_NOT[0], *NONE_OR_NOT]),
        (ParameterCount(), [CONV_OR_NOT] * 3),
    ],
)
def test_the_published_splits_of_metrics_that_degenerate(metric: SplitMetric, groups: list[Any]) -> None:
    subject = subject_of(replace(SMALL, channels=8))
    leaves = split(subject, metric, Plan(depth=3)).leaves
    expected = [(a, b, c) for a in groups[0] for b in groups[1] for c in groups[2]]
    assert [leaf.space.choices[:3] for leaf in leaves] == expected
    assert sum(leaf.space.size for leaf in leaves) == 15_625


def test_usual_networks_have_a_region_for_every_image() -> None:
    subject = subject_of(replace(SMALL, channels=8))
    _, values = LegacyS4("linear_regions").compare(subject, fork_of(subject.space))
    assert values == [16] * 5
    assert LinearRegions().min_images <= 16


@pytest.mark.slow
def test_single_precision_overflows_and_takes_the_first_cut() -> None:
    space = NASBench201(channels=16, cells=5, in_channels=1, image_size=8)
    division = LegacyS4("synflow").divide(
        subject_of(space, NormPolicy(affine=True, running_stats=True)), fork_of(space)
    )
    assert division.values is not None
    assert not np.isfinite(division.values).all()
    assert division.groups == NONE_OR_NOT[0]
