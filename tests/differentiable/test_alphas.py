"""Probabilities, samples and what they leave out. The numbers are worked examples for one decision of five choices."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_nas.differentiable import Alphas
from lightning_nas.differentiable.alphas import one_hot
from lightning_nas.random import Stream, generator
from lightning_nas.spaces import DARTS, NASBench201, RestrictedSpace

VALUES = torch.tensor([1, 1.2, 0.8, 1.1, 0.9])
UNIFORM = np.array([0.3, 0.6, 0.5, 0.9, 0.1])
NOISE = torch.tensor(-np.log(-np.log(UNIFORM)), dtype=torch.float32)
P = torch.tensor([0.198014, 0.241855, 0.162120, 0.218840, 0.179171])
LEAF = RestrictedSpace(NASBench201(), ((0, 3, 4), *[(0, 1, 2, 3, 4)] * 4, (2,)))


def alphas(space: NASBench201 | RestrictedSpace, values: Tensor = VALUES) -> Alphas:
    return Alphas(space, [values] * 6)


def test_probabilities_are_a_softmax_over_the_allowed_choices() -> None:
    found = alphas(LEAF).probabilities()
    torch.testing.assert_close(found[1], P, rtol=0, atol=1e-6)
    expected = torch.tensor([0.332225, 0, 0, 0.367165, 0.300610])
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-6)
    assert found[0][[1, 2]].tolist() == [0, 0]
    assert found[5].tolist() == [0, 0, 1, 0, 0]


def test_noise_and_temperature_enter_as_published() -> None:
    torch.testing.assert_close(
        NOISE, torch.tensor([-0.185627, 0.671727, 0.366513, 2.250367, -0.834032]), rtol=0, atol=1e-6
    )
    found = alphas(NASBench201())
    warm, cold = found.perturbed([NOISE] * 6, 1.0)[0], found.perturbed([NOISE] * 6, 0.1)[0]
    expected = torch.tensor([0.054339, 0.156428, 0.077276, 0.686248, 0.025709])
    torch.testing.assert_close(warm, expected, rtol=0, atol=1e-6)
    assert cold.argmax() == 3
    assert cold[3] > 0.999


def test_a_removed_choice_gets_no_gradient_and_no_weight() -> None:
    found = alphas(LEAF)
    for vector in (found.probabilities()[0], found.perturbed([NOISE] * 6, 0.1)[0]):
        [gradient] = torch.autograd.grad((vector * torch.arange(5)).sum(), [found.vectors[0]])
        assert gradient[[1, 2]].tolist() == [0, 0]
        assert gradient.isfinite().all()
        assert gradient[0] != 0


def test_samples_have_the_probabilities() -> None:
    found, counts = alphas(LEAF), Counter[int]()
    for draw in range(4000):
        rng = generator(0, Stream.GUMBEL, draw)
        noise = [torch.from_numpy(rng.gumbel(size=5)).float() for _ in range(6)]
        path = found.sample(noise)
        assert path[5] == 2
        counts[path[0]] += 1
    assert set(counts) == {0, 3, 4}
    for choice, p in ((0, 0.332225), (3, 0.367165), (4, 0.300610)):
        assert counts[choice] / 4000 == pytest.approx(p, abs=0.03)


def test_the_genotype_is_the_best_allowed_choice() -> None:
    assert alphas(LEAF).genotype() == (3, 1, 1, 1, 1, 2)


def test_entropy_is_that_of_the_probabilities() -> None:
    assert alphas(NASBench201(), torch.zeros(5)).entropy() == pytest.approx(np.log(5))
    expected = float(-(P * P.log()).sum())
    assert alphas(NASBench201()).entropy() == pytest.approx(expected, abs=1e-5)
    settled = RestrictedSpace(NASBench201(), ((3,),) * 6)
    assert alphas(settled).entropy() == 0


def test_a_settled_decision_takes_its_choice_whatever_the_alphas_become() -> None:
    found = alphas(NASBench201())
    assert found.settled == [False] * 6
    found.settle(2, 4)
    assert found.settled == [False, False, True, False, False, False]
    with torch.no_grad():
        found.vectors[2].copy_(torch.tensor([100.0, 0, 0, 0, -100]))
    assert found.probabilities()[2].tolist() == [0, 0, 0, 0, 1]
    twin = alphas(NASBench201())
    twin.load_state_dict(found.state_dict())
    assert twin.settled == found.settled
    assert twin.genotype()[2] == 4


def test_decisions_may_have_different_numbers_of_choices() -> None:
    space = DARTS()
    found = Alphas(space, [torch.zeros(number) for number in space.num_choices])
    assert [len(p) for p in found.probabilities()] == list(space.num_choices)
    torch.testing.assert_close(found.probabilities()[0], torch.ones(1))
    assert found.settled[0]  # of the first node's pairs there is one
    assert sum(found.settled) == 2


def test_a_path_is_a_mixture() -> None:
    found = one_hot((1, 0), [torch.zeros(2), torch.zeros(3)])
    assert [vector.tolist() for vector in found] == [[0, 1], [1, 0, 0]]
