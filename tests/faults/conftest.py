"""Prints one table of what was broken and what came of it, where these tests are asked for (``make faults``)."""

from collections import defaultdict
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A row for every file of tests.

    A test is one case, or as many as it records under ``cases``, and its cases are survived if it passes; it takes as
    long as it records under ``seconds``, or as it runs.
    """
    reports: dict[str, list[pytest.TestReport]] = defaultdict(list)
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            file = Path(report.nodeid.partition("::")[0])
            if file.parent.name == "faults" and report.when == "call":
                reports[file.stem.removeprefix("test_").replace("_", " ")].append(report)
    table = Table("fault", title="Faults")
    for column in ("cases tried", "survived", "slowest, s"):
        table.add_column(column, justify="right")
    for fault, found in sorted(reports.items()):
        tried = sum(_recorded(report, "cases", 1) for report in found)
        survived = sum(_recorded(report, "cases", 1) for report in found if report.passed)
        slowest = max(_recorded(report, "seconds", report.duration) for report in found)
        table.add_row(fault, f"{tried:.0f}", f"{survived:.0f}", f"{slowest:.1f}")
    if reports:
        terminalreporter.ensure_newline()
        Console(width=100).print(table)


def _recorded(report: pytest.TestReport, name: str, otherwise: float) -> float:
    return float(dict(report.user_properties).get(name, otherwise))  # type: ignore[arg-type]
