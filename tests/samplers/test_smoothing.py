from pathlib import Path

import pytest
import short_runs

from lightning_nas.errors import NASError
from lightning_nas.samplers import DataImportanceSampler, PathImportanceSampler, UniformSampler
from lightning_nas.samplers.smoothing import require_share, smoothing


def test_schedules_are_lines() -> None:
    parts = [0.0, 0.25, 1.0]
    assert [smoothing("rising", 0.8, part) for part in parts] == [0.0, 0.2, 0.8]
    assert [smoothing("falling", 0.8, part) for part in parts] == pytest.approx([0.8, 0.6, 0.0])
    assert [smoothing("constant", 0.8, part) for part in parts] == [0.8] * 3


def test_shares_lie_between_0_and_1() -> None:
    require_share("sampler.delta", 0.0)
    require_share("sampler.delta", 1.0)
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(NASError, match=r"^sampler\.delta is .*: valid are numbers from 0 to 1$"):
            require_share("sampler.delta", value)


@pytest.mark.parametrize("sampler", [PathImportanceSampler, DataImportanceSampler])
def test_a_run_without_an_end_has_no_slope(tmp_path: Path, sampler: type) -> None:
    def fit(one: object) -> None:
        flags = {"max_epochs": -1, "max_time": {"seconds": 0.01}, "limit_val_batches": 0, "logger": False}
        module = short_runs.supernet_module(schedule="constant")
        callbacks = [one] if sampler is PathImportanceSampler else [UniformSampler(), one]
        short_runs.trainer(tmp_path, *callbacks, **flags).fit(module, datamodule=short_runs.digits())

    with pytest.raises(NASError, match=r"sampler\.schedule is 'rising', but the run has no end"):
        fit(sampler())
    fit(sampler(schedule="constant"))
