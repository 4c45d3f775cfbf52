"""Runs as one HTML page that needs nothing beside it: no network, no other file, no script."""

import base64
import io
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jinja2
import PIL.Image
from matplotlib.figure import Figure

from lightning_nas import plots
from lightning_nas.errors import NASError
from lightning_nas.report import tables
from lightning_nas.report.comparison import Method, methods
from lightning_nas.report.facts import kind
from lightning_nas.report.run import CONFIG, Run

MARK = '<meta name="generator" content="lightning_nas report">'
"""What tells a page of this package from a file of somebody else."""

TAU = "ranking/kendall_tau"
DPI = 110
MOST_PIXELS = 1500
"""Of a picture that can be read at half the width of the page."""
VERBS = {"learnt architecture": "learn", "network trained alone": "retrain", "supernet": "fit"}


class Image(NamedTuple):
    """A picture in the page.

    Attributes:
        caption: What it is; may be empty.
        source: Its bytes as an address.
        wide: Whether it needs the width of the page.
    """

    caption: str
    source: str
    wide: bool = False


def page(runs: Sequence[Run], title: str) -> str:
    """The page.

    Args:
        runs: At least one.
        title: Its heading.

    Raises:
        NASError: A figure of a run is no PNG.
    """
    found = methods(runs)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lightning_nas.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=title,
        mark=MARK,
        version=version("lightning-nas"),
        summary=tables.summary(runs),
        criteria=tables.criteria(runs),
        methods=tables.spreads(found) if len(runs) > 1 else None,
        taus=_taus(found),
        curves=[_drawn(figure) for figure in curves(found)],
        results={run.label: tables.results(run) for run in runs},
        figures={run.label: [_kept(file, run.folder) for file in run.figures] for run in runs},
        settings=tables.settings(runs),
        machines=tables.machines(runs),
        commands={run.label: commands(run) for run in runs},
    )


def curves(found: Sequence[Method]) -> list[Figure]:
    """Every metric but times, which say nothing of a method, and of the criteria of rankings Kendall's tau alone."""
    logged = dict.fromkeys(name for method in found for run in method.runs for name in run.curves)
    names = [method.name for method in found]
    figures = []
    for metric in sorted(filter(_is_drawn, logged), key=_place):
        by_method = {
            method.name: [run.curves[metric] for run in method.runs if metric in run.curves]
            for method in found
        }
        shown = {name: of_runs for name, of_runs in by_method.items() if of_runs}
        # A single point is no curve; the tables have it.
        if any(len(steps) > 1 for of_runs in shown.values() for steps, _ in of_runs):
            figures.append(plots.metric_over_steps(metric, shown, names))
    return figures


def _is_drawn(metric: str) -> bool:
    return metric == TAU or (metric != "epoch" and not metric.startswith(("time/", "ranking/")))


def _place(metric: str) -> tuple[bool, bool, bool, str]:
    return metric != TAU, not metric.startswith("val/"), not metric.startswith("train/"), metric


def _taus(found: Sequence[Method]) -> Image | None:
    """Kendall's tau of the methods, where there are several to compare."""
    by_method = {method.name: method.values("kendall_tau") for method in found}
    known = {name: taus for name, taus in by_method.items() if taus}
    return _drawn(plots.tau_of_methods(known, {})) if len(known) > 1 else None


def commands(run: Run) -> list[str]:
    """What makes the run again: what was typed and where, or else what its configuration says."""
    typed: dict[str, dict[str, None]] = {}
    for facts in run.environment.values():
        if isinstance(command := facts.get("command"), str):
            typed.setdefault(str(facts.get("folder", ".")), {})[command] = None
    verb = VERBS.get(kind(run))
    if typed or not run.config or verb is None:
        return [line for folder, lines in typed.items() for line in (shlex.join(["cd", folder]), *lines)]
    return [shlex.join(["lightning-nas", verb, "-c", str(run.folder / CONFIG)])]


def _drawn(figure: Figure) -> Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return Image("", _address(buffer.getvalue()))


def _kept(file: Path, folder: Path) -> Image:
    content = file.read_bytes()
    try:
        with PIL.Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            wide = image.width > MOST_PIXELS
    except PIL.UnidentifiedImageError as error:
        raise NASError(f"{file} is no PNG image: remove it, or give it another suffix") from error
    return Image(str(file.relative_to(folder)), _address(content), wide)


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
