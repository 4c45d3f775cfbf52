"""``lightning-nas report``: one or several runs as a page to read."""

from pathlib import Path

from lightning_nas.errors import NASError
from lightning_nas.files import require_writable, written_whole
from lightning_nas.report import MARK, page, read_runs

NAME = "report.html"


def report(runs: list[Path], *, out: Path | None = None, title: str | None = None) -> None:
    """Write an HTML page about one or several runs: numbers, curves, figures, settings, and how to repeat them.

    Runs that differ in nothing but the seed are compared with others as one method. The page needs no other file and no
    network; runs may still be at work.

    Args:
        runs: Run directories, whichever verbs have written there: in front of all options, with spaces between them.
        out: The page; report.html in the run, or of several in the current folder, if not given. An earlier page is
            replaced.
        title: Heading of the page.

    Raises:
        NASError: A folder is no run directory or given twice, a file in it is broken, or out cannot be written.
    """
    found = read_runs(runs)
    out = out or (runs[0] / NAME if len(runs) == 1 else Path(NAME))
    _require_free(out)
    heading = title or (f"Run {found[0].label}" if len(runs) == 1 else f"{len(runs)} runs")
    text = page(found, heading)
    with written_whole(out) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")
    runs_told = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
    print(f"{out}: {runs_told}, {text.count('<figure')} figures")


def _require_free(out: Path) -> None:
    """Refuses a file that cannot be written, and one that is no earlier page.

    Raises:
        NASError: It is one of these, or no .html file.
    """
    if out.suffix != ".html":
        raise NASError(f"out is {str(out)!r}: a report is a .html file")
    if out.exists() and not (out.is_file() and MARK in out.read_text(encoding="utf-8", errors="replace")):
        raise NASError(f"out is {str(out)!r}, which exists and is no report: choose another, or remove it")
    require_writable(out.parent, out)
