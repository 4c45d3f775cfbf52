from pathlib import Path

import pytest
import short_runs
import torch

from lightning_nas.cli import main
from lightning_nas.samplers import UniformSampler


def test_checkpoints_of_a_run_are_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short_runs.fit(tmp_path, UniformSampler, limit_val_batches=0)
    steps = (12, 6, 9)
    files = [str(tmp_path / f"{step:02d}.ckpt") for step in steps]
    out = tmp_path / "mean.ckpt"
    main(["ensemble", *files, "--out", str(out)])
    assert capsys.readouterr().out == f"{out}: the average of 3 checkpoints\n"
    found = torch.load(out, weights_only=True)
    parts = [torch.load(file, weights_only=True) for file in files]
    for name, value in found["state_dict"].items():
        expected = torch.stack([part["state_dict"][name].double() for part in parts]).mean(0)
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
    assert found["global_step"] == 12
    assert "optimizer_states" in parts[0]
    assert "optimizer_states" not in found
    with pytest.raises(SystemExit, match=r"out is '.*mean\.ckpt', which exists"):
        main(["ensemble", *files, "--out", str(out)])
    with pytest.raises(SystemExit, match="at least 2 checkpoints, not 1"):
        main(["ensemble", files[0], "--out", str(tmp_path / "x.ckpt")])
    assert not (tmp_path / "x.ckpt").exists()
