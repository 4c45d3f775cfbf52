from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import assert_same, digits, supernet_module, trainer

from lightning_nas import checkpoint
from lightning_nas.differentiable import SNAS
from lightning_nas.errors import NASError
from lightning_nas.fewshot import Mixture, MixtureModule, RandomSplit
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NASBench201

SPACE = NASBench201(channels=2, cells=1, in_channels=1, image_size=8)


def test_a_mixture_of_single_choices_is_a_path() -> None:
    supernet = SPACE.build_supernet().eval()
    path = (3, 1, 2, 4, 0, 3)
    x = torch.randn(4, 1, 8, 8)
    mixture = Mixture(supernet, tuple((choice,) for choice in path))
    torch.testing.assert_close(mixture(x), supernet(x, path))
    assert torch.isfinite(mixture.double()(x.double())).all()


def test_choices_that_are_left_have_equal_shares() -> None:
    mixture = Mixture(SPACE.build_supernet(), ((0, 1, 3), *SPACE.choices[1:]))
    assert mixture.get_buffer("share_0").tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3, 0])
    assert mixture.get_buffer("share_5").tolist() == pytest.approx([0.2] * 5)


def split(root: Path, module: Any, **options: Any) -> dict[str, torch.Tensor]:
    trainer(root).split(module, digits(), RandomSplit(), depth=1, **options)
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_all_operations_are_trained_before_a_split(tmp_path: Path) -> None:
    module = supernet_module(SPACE)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    after = split(tmp_path / "first", module, mixture_epochs=2)
    assert all(not torch.equal(after[name], before[name]) for name in before)
    assert_same(split(tmp_path / "second", supernet_module(SPACE), mixture_epochs=2), after)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_mixture_is_trained_with_the_smoothing_of_the_supernet() -> None:
    module = supernet_module(SPACE, label_smoothing=0.5)
    images, labels = digits().training_images(8)
    joint = MixtureModule(module)
    expected = torch.nn.functional.cross_entropy(joint.mixture(images), labels, label_smoothing=0.5)
    torch.testing.assert_close(joint.training_step((images, labels), 0), expected)


def test_a_mixture_is_trained_for_no_less_than_nothing(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="mixture_epochs is -1: valid are numbers from 0"):
        split(tmp_path, supernet_module(SPACE), mixture_epochs=-1)


def test_weights_that_were_trained_with_alphas_are_looked_at(tmp_path: Path) -> None:
    flags = {"max_epochs": 1, "limit_train_batches": 1}
    trainer(tmp_path, **flags).learn(supernet_module(SPACE), digits(), SNAS())
    fresh, last = supernet_module(SPACE), tmp_path / "last.ckpt"
    split(tmp_path / "split", fresh, ckpt_path=str(last))
    assert checkpoint.digest(fresh.supernet) == checkpoint.digest(checkpoint.load_supernet(last))


def test_trained_weights_are_looked_at(tmp_path: Path) -> None:
    trained = supernet_module(SPACE)
    trainer(tmp_path, UniformSampler(seed=0), max_epochs=1).fit(trained, digits())
    last = str(tmp_path / "last.ckpt")
    fresh = supernet_module(SPACE)
    split(tmp_path / "split", fresh, ckpt_path=last)
    assert checkpoint.digest(fresh.supernet) == checkpoint.digest(trained.supernet)
    with pytest.raises(NASError, match=r"was trained with channels 2, but model\.space has channels 3"):
        split(tmp_path / "other", supernet_module(NASBench201(channels=3, cells=1)), ckpt_path=last)
