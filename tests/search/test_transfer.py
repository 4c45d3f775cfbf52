from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from search_runs import SPACE, search
from toy_space import Toy

from lightning_nas import checkpoint
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.search import RandomSearch, Shifting
from lightning_nas.search.transfer import head
from lightning_nas.spaces import AutoFormer, NASBench201


def test_a_supernet_is_transferred_but_for_its_classifier(trained: Path, tmp_path: Path) -> None:
    module = short_runs.supernet_module(SPACE)
    fresh = {name: value.clone() for name, value in module.supernet.state_dict().items()}
    options: dict[str, Any] = {
        "ckpt_path": str(trained / "last.ckpt"),
        "transfer": True,
        "algorithm": RandomSearch(1),
    }
    search(tmp_path, module, **options, shifting=Shifting(steps=1, lr=1e-30, weight_decay=0.0))
    learned = checkpoint.load_supernet(trained / "last.ckpt").state_dict()
    for name, value in module.supernet.state_dict().items():
        assert torch.equal(value, (fresh if name.startswith("head.") else learned)[name]), name
    with pytest.raises(NASError, match="only the number of classes"):
        search(tmp_path, short_runs.supernet_module(Toy(layers=5)), **options, shifting=Shifting())
    with pytest.raises(NASError, match="needs the checkpoint"):
        search(tmp_path, transfer=True, shifting=Shifting())


def test_a_supernet_of_other_classes_and_sizes_is_transferred(tmp_path: Path) -> None:
    """Cells do not ask how large images are, so that only the classifier differs."""
    small, large = (
        NASBench201(channels=2, cells=1, num_classes=5, image_size=12),
        NASBench201(channels=2, cells=1),
    )
    trained = SupernetModule(small, in_channels=1)
    saved: dict[str, Any] = {"state_dict": trained.state_dict()}
    checkpoint.describe(saved, trained.space, trained.supernet.norm, classes=None)
    torch.save(saved, tmp_path / "other.ckpt")
    module = short_runs.supernet_module(large)
    shifting = Shifting(steps=1, lr=1e-30, weight_decay=0.0)
    options: dict[str, Any] = {
        "ckpt_path": str(tmp_path / "other.ckpt"),
        "transfer": True,
        "shifting": shifting,
    }
    found = search(tmp_path, module, algorithm=RandomSearch(2), **options)
    assert found["evaluations"] == 2
    fresh = head(module.space)
    for name, value in module.supernet.state_dict().items():
        assert (name in fresh) or torch.equal(value, trained.supernet.state_dict()[name]), name


@pytest.mark.parametrize(
    ("space", "names"),
    [
        (NASBench201(channels=2, cells=1), {"layers.6.4.weight", "layers.6.4.bias"}),
        (AutoFormer(), {"head.classifier.weight", "head.classifier.bias"}),
        (SPACE, {"head.weight", "head.bias"}),
    ],
    ids=["nb201", "autoformer", "toy"],
)
def test_the_classifier_is_what_depends_on_the_classes(space: Any, names: set[str]) -> None:
    assert head(space) == names
