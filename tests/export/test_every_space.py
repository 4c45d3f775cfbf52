"""Every format answers as PyTorch does, for every space."""

from pathlib import Path

import exports
import pytest
import torch
from space_checks import CONFIGS, images, small_space

from lightning_nas.export import FORMATS, Exported
from lightning_nas.export.folding import folded
from lightning_nas.export.running import difference
from lightning_nas.spaces import Pooling, SearchSpace

FILES = sorted(CONFIGS.glob("*_small.yaml"))
MAX_POOLED = Pooling(backbone="resnet18", channels=(4, 4, 8, 8), in_channels=3, image_size=8, num_classes=10)
SPACES = {file.stem: small_space(file) for file in FILES} | {"max_pooled": MAX_POOLED}


def check(exported: Exported, form: str, file: Path) -> None:
    with torch.no_grad():
        assert exported.network(images(exported.space)).std() > 1e-3  # not all alike
    FORMATS[form].write(exported, file)
    run = FORMATS[form].load(file)
    assert difference(run, exported.network, exported.space) <= 1e-4
    for number in (1, 2, 11):
        x = images(exported.space, number)
        with torch.no_grad():
            torch.testing.assert_close(run(x), exported.network(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("form", ["safetensors", "torch_export"])
def test_a_trained_network(space: SearchSpace, form: str, tmp_path: Path) -> None:
    check(exports.exported(space), form, tmp_path / f"model{FORMATS[form].suffix}")


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_trained_network_in_onnx(space: SearchSpace, tmp_path: Path) -> None:
    check(exports.exported(space), "onnx", tmp_path / "model.onnx")


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_path_of_a_supernet(space: SearchSpace, tmp_path: Path) -> None:
    check(exports.path_of_supernet(space), "torch_export", tmp_path / "model.pt2")


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_folded_network(space: SearchSpace) -> None:
    exported = exports.exported(space)
    assert 0 < difference(folded(exported.network), exported.network, space) <= 1e-4
