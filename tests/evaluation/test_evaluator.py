from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.evaluation import Calibration, PartialScores, PathEvaluator
from lightning_nas.evaluation.evaluator import Output, shares
from lightning_nas.spaces import NASBench201, NormPolicy, Pooling, SearchSpace, Supernet

POOLING = Pooling(blocks=(1, 1, 1), channels=(4, 4, 6), image_size=8, in_channels=1)
CELLS = NASBench201(channels=2, cells=1, image_size=8, in_channels=1)


def batches(number: int = 3, size: int = 20) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 1, 8, 8, generator=generator),
            torch.randint(10, (size,), generator=generator),
        )
        for _ in range(number)
    ]


def supernet_of(space: SearchSpace, norm: NormPolicy | None = None) -> Supernet:
    torch.manual_seed(0)
    return space.build_supernet(norm=norm or NormPolicy()).eval()


@torch.no_grad()
def slow_scores(supernet: Supernet, paths: list[tuple[int, ...]]) -> tuple[list[float], list[float]]:
    """One path after the other, over all batches."""
    accuracy, loss = [], []
    for path in paths:
        logits = [(supernet(x, path), y) for x, y in batches()]
        images = sum(len(y) for _, y in logits)
        accuracy.append(100 * sum(int((z.argmax(1) == y).sum()) for z, y in logits) / images)
        loss.append(sum(float(F.cross_entropy(z, y, reduction="sum")) for z, y in logits) / images)
    return accuracy, loss


@torch.no_grad()
def run(evaluator: PathEvaluator) -> PathEvaluator:
    for number, (x, y) in enumerate(batches()):
        evaluator.update(x, y, number)
    return evaluator


def scores_of_first(supernet: Supernet, paths: list[tuple[int, ...]], number: int) -> list[float]:
    """Accuracies on some batches, of an evaluator that knows no others."""
    evaluator = PathEvaluator(supernet, paths)
    for batch, (x, y) in enumerate(batches()[:number]):
        evaluator.update(x, y, batch)
    found: list[float] = evaluator.scores().accuracy.tolist()
    return found


@pytest.mark.parametrize("space", [POOLING, CELLS, Toy(layers=3)])
def test_scores_are_those_of_one_path_at_a_time(space: SearchSpace) -> None:
    supernet = supernet_of(space)
    paths = list(space)[:: max(1, space.size // 40)]
    scores = run(PathEvaluator(supernet, paths)).scores()
    accuracy, loss = slow_scores(supernet, paths)
    assert scores.accuracy.tolist() == pytest.approx(accuracy)
    np.testing.assert_allclose(scores.loss, loss, rtol=1e-6)


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_processes_score_a_share_each_and_together_all(processes: int) -> None:
    supernet, paths = supernet_of(POOLING), list(POOLING)
    together = run(PathEvaluator(supernet, paths)).scores()
    parts = [run(PathEvaluator(supernet, paths, rank, processes)) for rank in range(processes)]
    assert sorted(i for part in parts for i in part.share) == list(range(len(paths)))
    hits = torch.stack([part.metric.hits for part in parts]).sum(0)
    assert (100 * hits.double() / 60).tolist() == together.accuracy.tolist()
    assert all(int(part.metric.images) == 60 for part in parts)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_stretches_of_about_equal_cost(seed: int) -> None:
    costs = np.random.default_rng(seed).integers(1, 100, size=500).tolist()
    for processes in (1, 2, 3, 8):
        parts = shares(costs, processes)
        assert [i for part in parts for i in part] == list(range(500))
        loads = [sum(costs[i] for i in part) for part in parts]
        assert max(loads) - min(loads) <= 2 * max(costs)
    assert sorted(len(part) for part in shares([5, 5], 4)) == [0, 0, 1, 1]


class Interrupted(Iterator[Output]):
    """Passes some outputs on; then somebody presses Ctrl-C."""

    def __init__(self, outputs: Iterable[Output], after: int) -> None:
        self._outputs, self._left = iter(outputs), after

    def __next__(self) -> Output:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return next(self._outputs)


@torch.no_grad()
@pytest.mark.parametrize(("batch", "after"), [(0, 0), (0, 2), (1, 1), (2, 3)])
def test_an_interrupted_scoring_continues_exactly(tmp_path: Path, batch: int, after: int) -> None:
    supernet, paths = supernet_of(POOLING), list(POOLING)
    expected = run(PathEvaluator(supernet, paths)).scores()
    kept = PartialScores(tmp_path / "validate.partial", {"weights": "a"})
    first = PathEvaluator(supernet, paths, partial=kept)
    for number, (x, y) in enumerate(batches()[:batch]):
        first.update(x, y, number)
    with pytest.raises(KeyboardInterrupt):
        first.update(*batches()[batch], batch, lambda outputs, _: Interrupted(outputs, after))
    scored: list[int] = []

    def watch(outputs: Iterable[Output], _: int) -> Iterator[Output]:
        for position, logits in outputs:
            scored.append(position)
            yield position, logits

    second = PathEvaluator(supernet, paths, partial=kept)
    for number, (x, y) in enumerate(batches()):
        second.update(x, y, number, watch)
    found = second.scores()
    assert found.accuracy.tolist() == expected.accuracy.tolist()
    assert found.loss.tolist() == expected.loss.tolist()
    parts = [scores.accuracy.tolist() for scores in second.scores_after().values()]
    assert parts == [scores_of_first(supernet, paths, number) for number in (1, 2, 3)]
    # The last path that was passed on was still being added, and is scored again.
    assert len(scored) == 3 * len(paths) - batch * len(paths) - max(0, after - 1)
    second.finish()
    assert not kept.path.exists()


def test_scoring_continues_where_everything_was_scored(tmp_path: Path) -> None:
    supernet, paths = supernet_of(POOLING), list(POOLING)
    kept = PartialScores(tmp_path / "partial", {})
    done = run(PathEvaluator(supernet, paths, partial=kept))
    done._save()
    assert (
        run(PathEvaluator(supernet, paths, partial=kept)).scores().loss.tolist()
        == done.scores().loss.tolist()
    )


def test_logits_that_are_not_finite_are_told_by_path() -> None:
    supernet = supernet_of(Toy(layers=2))
    supernet.choice_parameters(1, 2)[0].parameter.data.fill_(float("nan"))
    with pytest.raises(NASError, match=r"the logits of path 02 are not finite \(3 of 9 paths\)"):
        run(PathEvaluator(supernet, list(supernet.space))).scores()


@torch.no_grad()
def test_with_a_calibration_every_path_has_statistics_of_its_own() -> None:
    supernet = supernet_of(POOLING, NormPolicy(running_stats=True))
    calibration = Calibration(supernet, [x for x, _ in batches()])
    paths = list(POOLING)
    one = run(PathEvaluator(supernet, paths, calibration=calibration)).scores()
    for order in (paths[::-1], paths[1:2]):
        other = run(
            PathEvaluator(supernet, order, calibration=Calibration(supernet, [x for x, _ in batches()]))
        )
        assert other.scores().loss.tolist() == [one.loss[paths.index(path)] for path in order]
