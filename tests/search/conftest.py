from pathlib import Path

import pytest
import short_runs
from search_runs import SPACE, data

from lightning_nas.callbacks import Ranking
from lightning_nas.samplers import UniformSampler


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs."""
    root = tmp_path_factory.mktemp("trained")
    trainer = short_runs.trainer(root, UniformSampler(seed=0), Ranking(), max_epochs=2, limit_val_batches=0)
    trainer.fit(short_runs.supernet_module(SPACE), datamodule=data())
    return root
