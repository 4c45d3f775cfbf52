"""The example of ``docs/add-a-space.md``, and its commands as they are printed."""

import re
import shlex
from pathlib import Path

import pytest
from space_checks import NORMS, check_extracted_networks, images, measured_cost

from lightning_nas.cli import main
from lightning_nas.errors import NASError
from lightning_nas.spaces import NormPolicy, SearchSpace

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "add-a-space.md"


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> SearchSpace:
    monkeypatch.syspath_prepend(ROOT / "examples")
    args = {"width": 4, "in_channels": 1, "image_size": 8}
    return SearchSpace.from_description({"class_path": "kernel_sizes.KernelSizes", "init_args": args})


def test_it_is_as_short_as_promised() -> None:
    lines = (ROOT / "examples" / "kernel_sizes.py").read_text().splitlines()
    assert len(lines) <= 60
    assert f"{len(lines)} lines" in PAGE.read_text()


def test_text_and_cost(space: SearchSpace) -> None:
    assert [space.decode(space.encode(path)) for path in space] == list(space)
    assert space.cost(space.decode("1353")) == measured_cost(
        space.build_standalone(space.decode("1353")), images(space)
    )
    with pytest.raises(NASError, match="architecture '1257' is not in the space"):
        space.decode("1257")


@pytest.mark.parametrize("norm", NORMS)
def test_extracted_network_equals_its_path_bitwise(space: SearchSpace, norm: NormPolicy) -> None:
    check_extracted_networks(space, list(space)[::9], norm, True, images(space, 4))


@pytest.mark.slow
def test_the_commands_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "examples"))  # for worker processes
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    # Only the trainings are shorter.
    page = re.sub(
        r"max_epochs \d+|every_n_epoch \d+", lambda found: found[0].split()[0] + " 4", PAGE.read_text()
    )
    commands = re.findall(r"^lightning-nas (.*)$", page, flags=re.MULTILINE)
    brief = ["--trainer.limit_train_batches", "1", "--trainer.limit_test_batches", "1"]
    for command in commands:
        words = shlex.split(command)
        main(words + brief if words[0] == "groundtruth" else words)
    assert len(commands) == 7
    for run in ("uniform", "density"):
        assert len((tmp_path / f"runs/kernels_{run}/ranking.csv").read_text().splitlines()) == 82
    assert '"kendall_tau"' in (tmp_path / "runs/kernels_uniform/ranking.json").read_text()
