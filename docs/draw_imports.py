"""Says which package of ``lightning_nas`` imports which: writes the listing in ``architecture.md``, and draws ``imports.png``.

Run it from the root of the repository after an import has changed: ``.venv/bin/python docs/draw_imports.py``. Packages
are read, and not imported; the layers are those that import-linter enforces.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

ROOT = Path(__file__).parents[1]
PACKAGE = "lightning_nas"
LISTING = re.compile(r"(?<=^```text\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)


def layers() -> list[list[str]]:
    """The packages of every layer, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [contract] = settings["tool"]["importlinter"]["contracts"]
    separators = str.maketrans("|:()", "    ")
    return [layer.translate(separators).split() for layer in contract["layers"]]


def imports() -> dict[str, set[str]]:
    """What every package imports of the others, by name."""
    names = [name for layer in layers() for name in layer]
    return {name: {found for file in files(name) for found in imported(file)} - {name} for name in names}


def files(name: str) -> Iterator[Path]:
    """The source files of a package, or the one of a module."""
    folder = ROOT / PACKAGE / name
    return folder.rglob("*.py") if folder.is_dir() else iter([folder.with_suffix(".py")])


def imported(file: Path) -> Iterator[str]:
    """The packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
            yield str(node.module).split(".")[1]


def listing() -> str:
    """A line for every package, and a paragraph for every layer, the top one first."""
    found = imports()
    paragraphs = (
        "".join(f"{name}: {', '.join(sorted(found[name])) or '-'}\n" for name in layer) for layer in layers()
    )
    return "\n".join(paragraphs)


def written(page: str) -> str:
    """The text of the page with the listing as it should be."""
    return LISTING.sub(lambda _: listing(), page)


def draw() -> Figure:
    """A row and a column for every package, from the top layer; a dot where the row imports the column.

    All dots are on one side of the diagonal, but for those in the squares, which are the layers.
    """
    names = [name for layer in layers() for name in layer]
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    first = 0
    for layer in layers():
        corner, size = first - 0.5, len(layer)
        axes.add_patch(Rectangle((corner, corner), size, size, facecolor="#E8EEF4", edgecolor="none"))
        first += size
    for name, others in imports().items():
        columns = [names.index(other) for other in others]
        axes.plot(columns, [names.index(name)] * len(columns), "o", markersize=5, color="#0072B2")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("is imported")
    axes.set_ylabel("imports")
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[:].set_color("0.8")
    return figure


if __name__ == "__main__":
    folder = Path(__file__).parent
    page = folder / "architecture.md"
    page.write_text(written(page.read_text()))
    draw().savefig(folder / "imports.png", dpi=100)
