from pathlib import Path

import pytest
import short_runs
from toy_space import Toy

from lightning_nas.callbacks import InheritedWeights
from lightning_nas.errors import NASError
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import ListedSpace, NormPolicy, SearchSpace

TWO = ListedSpace(short_runs.SMALL, ((0, 1), (1, 2)))


def train(
    root: Path, space: SearchSpace, *callbacks: object, seed: int = 5, resume_from: Path | None = None
) -> SupernetModule:
    module = short_runs.supernet_module(space, norm=NormPolicy(affine=True))
    sampler = UniformSampler(seed=seed)
    trainer = short_runs.trainer(root, sampler, *callbacks, max_epochs=2, limit_val_batches=0)
    trainer.fit(module, datamodule=short_runs.digits(), ckpt_path=resume_from)
    return module


def test_a_part_begins_with_the_weights_of_the_whole_and_of_another_part(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", short_runs.SMALL)
    for number, (space, source) in enumerate([(TWO, "whole"), (short_runs.SMALL, "0")]):
        record, last = short_runs.Record(), tmp_path / source / "last.ckpt"
        part = train(tmp_path / str(number), space, InheritedWeights(str(last)), record)
        short_runs.assert_same(record.start, dict(whole.state_dict()))
        assert {path for _, paths in record.steps for path in paths} <= set(space)
        assert any((record.start[name] != value).any() for name, value in part.state_dict().items())
        whole = part


def test_a_run_that_is_continued_has_its_own_weights(tmp_path: Path) -> None:
    train(tmp_path / "whole", short_runs.SMALL)
    callback = InheritedWeights(str(tmp_path / "whole/last.ckpt"))
    part = train(tmp_path / "part", TWO, callback)
    (tmp_path / "whole/last.ckpt").unlink()
    again = train(tmp_path / "part", TWO, callback, resume_from=tmp_path / "part/last.ckpt")
    short_runs.assert_same(again.state_dict(), part.state_dict())


def test_other_supernets_are_refused(tmp_path: Path) -> None:
    train(tmp_path / "wide", Toy(layers=2, width=5))
    callback = InheritedWeights(str(tmp_path / "wide/last.ckpt"))
    with pytest.raises(
        NASError, match=r"InheritedWeights\.supernet is .* with the space .*'width': 5.*'width': 4"
    ):
        train(tmp_path / "part", TWO, callback)
    train(tmp_path / "whole", short_runs.SMALL)
    module = short_runs.supernet_module(TWO)
    trainer = short_runs.trainer(
        tmp_path / "part", UniformSampler(), InheritedWeights(str(tmp_path / "whole/last.ckpt"))
    )
    with pytest.raises(NASError, match=r"with the batch-norm .*'affine': True.*'affine': False"):
        trainer.fit(module, datamodule=short_runs.digits())
    with pytest.raises(NASError, match="there is no such file"):
        train(tmp_path / "part", TWO, InheritedWeights(str(tmp_path / "none.ckpt")))
