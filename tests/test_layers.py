"""The layers of the package, as pyproject.toml lists them."""

import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parent.parent


def test_every_module_imports_only_lower_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the linter prepends to it
    assert lint_imports(no_cache=True, no_logo=True) == 0, "broken contracts are printed above"
