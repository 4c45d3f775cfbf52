"""The dashboard as W&B would be told of it, against the code and the page that say what is logged."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples import wandb_dashboard
from examples.wandb_dashboard import dashboard
from lightning_nas.ranking import density_bias, ranking_metrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "wandb.md").read_text()
NAME = re.compile(r"`([a-z_]+/[a-z0-9_]+)`")
GROUPS = "train|val|test|ranking|sampler|density|time|gradient|momentum|forgetting|data_importance|trainability|learn"
SECTIONS = ["ranking", "val", "train", "learn", "sampler", "density", "time"]
BY_EPOCH = ("val/", "test/", "ranking/")


def specification() -> list[dict[str, Any]]:
    """The sections, in the form in which they are sent."""
    view = dashboard("team", "project")._spec
    assert (view["entity"], view["project"]) == ("team", "project")
    sections: list[dict[str, Any]] = view["spec"]["section"]["panelBankConfig"]["sections"]
    return sections


def panels(kind: str) -> list[dict[str, Any]]:
    found = [panel for section in specification() for panel in section["panels"]]
    return [panel["config"] for panel in found if panel["viewType"] == kind]


def documented(heading: str) -> set[str]:
    """Names in the first column of a table of the page, with ``<operation>`` left out."""
    start = PAGE.index(f"| {heading} |")
    rows = PAGE[start : PAGE.index("\n\n", start)].splitlines()[2:]
    return {name for row in rows for name in NAME.findall(row.split(" | ")[0])}


def test_a_section_for_every_group() -> None:
    sections = specification()
    assert [section["name"] for section in sections] == SECTIONS
    for section in sections:
        assert section["isOpen"]
        titles = [panel["config"].get("chartTitle") for panel in section["panels"]]
        assert len(titles) == len(set(titles)), section["name"]


def test_curves_are_those_of_the_page_over_their_axes() -> None:
    curves = {
        name: panel["xAxis"] for panel in panels("Run History Line Plot") for name in panel.get("metrics", [])
    }
    scalars = {name for panel in panels("Scalar Chart") for name in panel["metrics"]}
    assert curves.keys() | scalars == documented("Metric")
    for name, axis in curves.items():
        assert axis == ("epoch" if name.startswith(BY_EPOCH) else "trainer/global_step"), name
    [by_operation] = [panel for panel in panels("Run History Line Plot") if "metricRegex" in panel]
    assert re.match(by_operation["metricRegex"], "path_importance/nor_conv_3x3")


def test_media_and_tables_are_those_of_the_page() -> None:
    media = {name for panel in panels("Media Browser") for name in panel["mediaKeys"]}
    assert media == documented("Histogram") | documented("Figure")
    tables = {panel["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"] for panel in panels("Weave")}
    assert tables == documented("Table")


def test_the_page_knows_all_names_of_the_code() -> None:
    sources = [path.read_text() for path in (ROOT / "lightning_nas").rglob("*.py")]
    logged = {name for source in sources for name in re.findall(rf'"((?:{GROUPS})/[a-z0-9_]+)"', source)}
    assert len(logged) > 25
    tables = ("Metric", "Histogram", "Table", "Figure")
    assert logged <= set.union(*map(documented, tables))


def test_the_page_knows_all_criteria() -> None:
    accuracies = np.arange(40.0)
    found = {
        *ranking_metrics(accuracies, accuracies),
        *vars(density_bias(accuracies, accuracies, accuracies)),
    }
    found |= {"complexity_bias", "complexity_convergence"}
    assert {name for name in documented("Metric") if name.startswith("ranking/")} == {
        f"ranking/{name}" for name in found - {"n"}
    }


def test_the_view_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    monkeypatch.setattr("wandb_workspaces.workspaces.Workspace.save", lambda view: sent.append(view._spec))
    wandb_dashboard.main(["--entity", "team"])
    assert [(view["entity"], view["project"]) for view in sent] == [("team", "lightning_nas")]
