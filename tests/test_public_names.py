"""What a user imports from ``lightning_nas`` itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_nas
from lightning_nas.errors import NASError
from lightning_nas.export import load_exported
from lightning_nas.module import SupernetModule
from lightning_nas.trainer import NASTrainer

PAGE = Path(__file__).parents[1] / "docs" / "getting-started.md"


def test_every_public_name_is_that_of_its_module() -> None:
    theirs = {each.__name__: each for each in (NASError, NASTrainer, SupernetModule, load_exported)}
    assert {*theirs, "__version__"} == set(lightning_nas.__all__)
    for name, expected in theirs.items():
        assert getattr(lightning_nas, name) is expected
    with pytest.raises(AttributeError, match="'lightning_nas' has no attribute 'Supernet'"):
        lightning_nas.Supernet  # noqa: B018


def test_the_package_imports_nothing_that_takes_long() -> None:
    code = "import sys, lightning_nas; assert not {'torch', 'lightning', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_names_what_is_public() -> None:
    _, table = PAGE.read_text().split("are public")
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(lightning_nas.__all__)
