"""Numbers and rows as text."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from rich.table import Table


def number(value: float | None, form: str) -> str:
    """A number, or that there is none."""
    return "n/a" if value is None or math.isnan(value) else f"{value:{form}}"


def spread(numbers: Sequence[float], form: str) -> str:
    """Mean and, of several, standard deviation over seeds."""
    mean = number(float(np.mean(numbers)), form)
    if mean == "n/a" or len(numbers) == 1:
        return mean
    return f"{mean} ± {np.std(numbers, ddof=1):{form.lstrip('+')}}"


def table_of(title: str, rows: Sequence[dict[str, str]], columns: Sequence[str]) -> Table:
    """Some columns of the rows as a table to print, narrow enough for a terminal of 80 characters."""
    table = Table(title=title)
    for name in columns:
        justify: Literal["left", "right"] = "left" if name in ("method", "setting") else "right"
        table.add_column(name.replace(" - ", " -\n"), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(row[name].replace(" ± ", "\n± ") for name in columns))
    return table


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """Rows as a table of Markdown."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
