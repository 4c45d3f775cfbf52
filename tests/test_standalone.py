import pytest
import short_runs
import torch
from lightning import Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_nas.standalone import StandaloneModule


def test_it_trains_like_a_plain_loop_and_counts_hits() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    twin = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    twin.load_state_dict(network.state_dict())
    given = [(torch.randn(8, 1, 2, 2), torch.randint(3, (8,))) for _ in range(5)]
    batches = DataLoader(short_runs.Batches(*given), batch_size=None)
    module = StandaloneModule(network, num_classes=3, schedule="constant", label_smoothing=0.1)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        max_epochs=1,
        enable_model_summary=False,
    )
    trainer.fit(module, batches)

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(twin(x), y, label_smoothing=0.1).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))

    [metrics] = trainer.test(module, batches, verbose=False)
    hits = sum(int((twin(x).argmax(1) == y).sum()) for x, y in batches)
    assert metrics["test/accuracy"] == pytest.approx(100 * hits / 40)
