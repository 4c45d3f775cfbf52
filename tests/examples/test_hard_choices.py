"""The example of ``docs/add-a-sampler.md``, and its commands as they are printed."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import short_runs
import torch
from sampler_cases import SAMPLERS

from lightning_nas.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "add-a-sampler.md"


def test_it_is_as_short_as_promised() -> None:
    lines = (ROOT / "examples" / "hard_choices.py").read_text().splitlines()
    assert len(lines) <= 40
    assert f"{len(lines)} lines" in PAGE.read_text()


def test_choices_are_drawn_as_often_as_their_loss_is_high() -> None:
    sampler, module = SAMPLERS["example"].make(), short_runs.supernet_module()
    sampler.loss = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.5, 0.5]])  # type: ignore[attr-defined]
    trainer = short_runs.trainer(Path("unused"), barebones=True, log_every_n_steps=None)
    drawn = np.array([sampler.choose(trainer, module, step)[0] for step in range(6000)])
    for decision, expected in enumerate(([1000, 2000, 3000], [4800, 600, 600])):
        counts = np.bincount(drawn[:, decision], minlength=3)
        # Chi-square with 2 degrees of freedom stays below 13.8 in 999 of 1000 draws.
        assert ((counts - expected) ** 2 / np.array(expected)).sum() < 13.8


@pytest.mark.slow
def test_the_commands_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    commands = re.findall(r"^lightning-nas (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        main(shlex.split(command))
    assert len((tmp_path / "runs/hard/ranking.csv").read_text().splitlines()) == 101
