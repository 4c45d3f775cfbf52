import numpy as np
import torch
from torch.nn import functional as F

from lightning_nas.evaluation import PathScores
from lightning_nas.spaces import Pooling


@torch.no_grad()
def test_scores_over_uneven_batches_equal_those_of_one_pass_over_all_images() -> None:
    space = Pooling(blocks=(1, 1, 1), channels=(4, 4, 6), image_size=8, in_channels=1)
    supernet = space.build_supernet()
    x, y = torch.randn(50, 1, 8, 8), torch.randint(10, (50,))
    metric = PathScores(space.size)
    hits, losses = np.zeros(space.size), np.zeros(space.size)
    for part in (slice(0, 20), slice(20, 40), slice(40, 50)):
        metric.update(supernet.forward_each(x[part], list(space)), y[part])
        for i, path in enumerate(space):
            logits = supernet(x[part], path)
            hits[i] += int((logits.argmax(1) == y[part]).sum())
            losses[i] += float(F.cross_entropy(logits, y[part])) * len(y[part])
    scores = metric.scores()
    np.testing.assert_allclose(scores.accuracy, 100 * hits / 50)
    np.testing.assert_allclose(scores.loss, losses / 50, rtol=1e-6)


def test_sums_are_wide_enough_for_any_dataset() -> None:
    metric = PathScores(1)
    logits = torch.tensor([[9.0, 0.0]])
    metric.hits += 2**40
    metric.images += 2**40
    metric.update([(0, logits)], torch.tensor([0]))
    assert int(metric.hits) == int(metric.images) == 2**40 + 1


def test_a_single_path_has_vectors_too() -> None:
    metric = PathScores(1)
    metric.update([(0, torch.tensor([[9.0, 0.0]]))], torch.tensor([0]))
    assert metric.scores().accuracy.tolist() == [100.0]
    assert metric.scores().loss.shape == (1,)
