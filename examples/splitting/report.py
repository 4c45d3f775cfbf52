"""What came out of a grid of splits and algorithms: a table and a figure for every dataset, and all searches."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from rich.console import Console

from examples.comparison.tables import markdown, number, spread, table_of
from examples.splitting.searches import Cell, Found, Grid
from lightning_nas import plots
from lightning_nas.files import written_whole

Leaves = list[Found]
Choice = Callable[[Leaves], float]


def best(leaves: Leaves) -> float:
    """The highest ground truth of all leaves: what the published tables show, and nobody knows beforehand."""
    return max(found.ground_truth for found in leaves)


def chosen(leaves: Leaves) -> float:
    """The ground truth of the leaf whose architecture validates best with shared weights; of equals the first."""
    return max(leaves, key=lambda found: found.accuracy).ground_truth


CHOICES: dict[str, Choice] = {"best of the leaves": best, "chosen by validation": chosen}


def report(grid: Grid, console: Console) -> None:
    """Prints the tables, and writes ``grid.csv``, ``grid.md`` and a figure for every dataset."""
    found = {cell: result for cell in grid.cells() if (result := grid.found(cell))}
    write_all(grid, found)
    parts = [f"# {grid.plan.title}"]
    for dataset in grid.plan.datasets:
        rows = [row_of(grid, found, dataset, split) for split in grid.plan.splits]
        console.print(table_of(f"{grid.plan.title}: {dataset}", rows, list(rows[0])))
        parts += [f"## {dataset}", markdown(rows)]
        draw(grid, found, dataset)
    with written_whole(grid.out / "grid.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")


def write_all(grid: Grid, found: Mapping[Cell, Found]) -> None:
    """Writes a row for every finished search."""
    rows = [cell._asdict() | result._asdict() for cell, result in found.items()]
    names = [*Cell._fields, *Found._fields]
    plots.save_table(grid.out / "grid.csv", {name: [row[name] for row in rows] for name in names})


def values(
    grid: Grid, found: Mapping[Cell, Found], dataset: str, split: str, algorithm: str, choice: Choice
) -> Sequence[float]:
    """What was found in the seeds all of whose leaves are finished; NaN where there is none."""
    numbers = []
    for seed in grid.plan.seeds:
        wanted = Cell(dataset, split, algorithm, seed, 0)[:4]
        cells = [cell for cell in grid.cells() if cell[:4] == wanted]
        leaves = [found[cell] for cell in cells if cell in found]
        if len(leaves) == len(cells):
            numbers.append(choice(leaves))
    return numbers or [float("nan")]


def row_of(grid: Grid, found: Mapping[Cell, Found], dataset: str, split: str) -> dict[str, str]:
    """A split: of every algorithm the best leaf and the chosen one, and the time of a seed."""
    row = {"split": split}
    for algorithm in grid.plan.algorithms:
        numbers = (values(grid, found, dataset, split, algorithm, choice) for choice in CHOICES.values())
        row[algorithm] = " / ".join(spread(one, ".2f") for one in numbers)
    seconds = [r.seconds for cell, r in found.items() if (cell.dataset, cell.split) == (dataset, split)]
    minutes = sum(seconds) / 60 / len(grid.plan.seeds)
    row["CPU minutes"] = number(minutes, ".0f")
    return row


def draw(grid: Grid, found: Mapping[Cell, Found], dataset: str) -> None:
    """Draws means over the seeds."""
    splits, algorithms = grid.plan.splits, list(grid.plan.algorithms)
    tables = {
        name: [
            [
                float(np.mean(values(grid, found, dataset, split, algorithm, choice)))
                for algorithm in algorithms
            ]
            for split in splits
        ]
        for name, choice in CHOICES.items()
    }
    title = f"{dataset}: ground truth of what was found, %"
    plots.save(plots.found_by_split(splits, algorithms, tables, title), grid.out / f"{dataset}.png")
