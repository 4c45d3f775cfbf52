"""What pyproject.toml says of dependencies is all that is imported, and what is tested."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ASKED = [
    Requirement(text)
    for text in [*PROJECT["dependencies"], *EXTRAS["wandb"], *EXTRAS["export"], *EXTRAS["search"]]
]
NAMES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
BROUGHT_BY_FFCV = {"cv2", "llvmlite", "numba"}


@pytest.mark.parametrize("requirement", ASKED, ids=str)
def test_the_lower_bound_is_the_version_that_is_tested(requirement: Requirement) -> None:
    pins = (ROOT / "constraints-lowest.txt").read_text()
    [tested] = re.findall(rf"^{requirement.name}==(.*)$", pins, flags=re.MULTILINE)
    bounds = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
    assert bounds == [Version(tested)], "renew constraints-lowest.txt with: make constraints"


def test_the_lower_bound_of_ffcv_is_the_version_that_is_tested() -> None:
    [ffcv] = EXTRAS["ffcv"]
    assert ffcv.replace(">=", "==") in (ROOT / "constraints.txt").read_text().splitlines()


def test_everything_that_is_imported_is_asked_for() -> None:
    imported = set[str]()
    for file in (ROOT / "lightning_nas").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - BROUGHT_BY_FFCV - {"lightning_nas"}
    assert {NAMES.get(name, name) for name in foreign} <= {asked.name for asked in ASKED} | {"ffcv"}
