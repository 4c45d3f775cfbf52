"""One HTML page from the files of one or several runs."""

from lightning_nas.report.page import MARK, page
from lightning_nas.report.run import Run, read_runs

__all__ = ["MARK", "Run", "page", "read_runs"]
