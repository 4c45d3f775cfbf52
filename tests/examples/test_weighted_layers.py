"""The example of ``docs/add-an-estimator.md``, and its command as it is printed."""

import csv
import re
import shlex
from pathlib import Path

import pytest
from estimator_cases import PathOf, example, labelled_images, tiny_network

from lightning_nas.cli import main
from lightning_nas.spaces import NASBench201
from lightning_nas.spaces.nasbench201_graph import CONV_1X1, CONV_3X3, NONE, SKIP

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "add-an-estimator.md"


def test_it_is_as_short_as_promised() -> None:
    lines = (ROOT / "examples" / "weighted_layers.py").read_text().splitlines()
    assert len(lines) <= 30
    assert f"{len(lines)} lines" in PAGE.read_text()


def test_it_counts_layers_that_run() -> None:
    x, y = labelled_images()
    assert example()()(tiny_network(), x, y) == 3
    assert example()(kernel=3)(tiny_network(), x, y) == 2  # type: ignore[call-arg]
    assert example()(kernel=3).name == "weighted_layers(kernel=3)"  # type: ignore[call-arg]


def test_it_counts_those_of_a_path_in_its_supernet() -> None:
    supernet = NASBench201(channels=2, cells=1, in_channels=1, image_size=5).build_supernet().double()
    bare = example()()(PathOf(supernet, (NONE, NONE, NONE, SKIP, NONE, NONE)), *labelled_images())
    path = PathOf(supernet, (CONV_1X1, NONE, NONE, SKIP, CONV_3X3, NONE))
    assert example()()(path, *labelled_images()) == bare + 2 * 3


@pytest.mark.slow
def test_the_command_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    [command] = re.findall(r"^lightning-nas (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    main(shlex.split(command))
    rows = list(csv.DictReader((tmp_path / "runs/layers/estimates.csv").read_text().splitlines()))
    assert len(rows) == 20
    assert all(float(row["weighted_layers"]) >= 1 for row in rows)
