"""The layers of the package, as pyproject.toml lists them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
# In a process of its own, because the linter changes the logging of all that is imported.
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"


def test_every_module_imports_only_lower_layers() -> None:
    found = subprocess.run(
        [sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout
