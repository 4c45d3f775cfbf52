import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import report_runs

from lightning_nas.errors import NASError
from lightning_nas.report import MARK, page, read_runs
from lightning_nas.report.comparison import methods
from lightning_nas.report.page import commands, curves

NASTY = "<script>alert('x')</script> & \"quotes\""


class Parts(HTMLParser):
    """The texts of the page, and the attributes of its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def two_runs(tmp_path: Path) -> list[Path]:
    results = {"ranking.json": report_runs.CRITERIA}
    environment = {"fit": {"command": "lightning-nas fit -c a.yaml", "folder": "/work here", "torch": "2.10"}}
    first = report_runs.write(
        tmp_path / "uniform", report_runs.config(), [50, 60], {**results, "environment.json": environment}
    )
    report_runs.draw(first / "visits.png")
    report_runs.draw(first / "wide.png", width=12)
    return [
        first,
        report_runs.write(tmp_path / "fair", report_runs.config(0, "FairSampler"), [40, 70], results),
    ]


def test_everything_is_on_the_page(tmp_path: Path) -> None:
    parts = Parts(page(read_runs(two_runs(tmp_path)), "Two runs"))
    text = " ".join(" ".join(parts.texts).split())
    for expected in (
        "Two runs",
        "UniformSampler",
        "FairSampler",
        "0.500",  # Kendall's tau
        "60.00",
        "sampler.class_path",
        "2.10",
        "cd '/work here'",
        "lightning-nas fit -c a.yaml",
        f"lightning-nas fit -c {tmp_path}/fair/config.yaml",
        "visits.png",
    ):
        assert " ".join(expected.split()) in text, expected
    links = [attributes["href"] for attributes in parts.of("a")]
    anchors = [f"#{attributes['id']}" for attributes in parts.of("h2")]
    assert links == anchors
    # Loss, accuracy, the taus of the methods, and what the first run keeps.
    assert len(parts.of("img")) == 5
    assert [attributes.get("class") for attributes in parts.of("figure")][-2:] == [None, "wide"]


def test_a_page_needs_nothing_beside_it(tmp_path: Path) -> None:
    text = page(read_runs(two_runs(tmp_path)), "Two runs")
    parts = Parts(text)
    assert not re.search(r"https?://|@import|url\(", text)
    assert {tag for tag, _ in parts.elements}.isdisjoint({"script", "link", "iframe", "object", "base"})
    for tag, attributes in parts.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "src" or (value or "").startswith("data:image/png;base64,")
            assert name != "href" or (tag == "a" and (value or "").startswith("#"))
    for attributes in parts.of("img"):
        content = base64.b64decode((attributes["src"] or "").partition(",")[2], validate=True)
        with PIL.Image.open(io.BytesIO(content)) as image:
            assert image.format == "PNG"
            assert min(image.size) > 50
    assert text.count(MARK) == 1


def test_texts_of_users_are_no_elements(tmp_path: Path) -> None:
    keys: dict[str, Any] = report_runs.config(0, NASTY, key=NASTY)
    keys["model"]["space"]["class_path"] = NASTY
    keys[NASTY] = 1
    facts = {"command": f"lightning-nas fit {NASTY}", "folder": NASTY, NASTY: NASTY}
    results: dict[str, dict[str, Any]] = {
        "environment.json": {"fit": facts},
        "ranking.json": {NASTY: 1},
        "search.json": {"top": [{"arch": NASTY, NASTY: NASTY}]},
    }
    name = NASTY.replace("/", "")
    folder = report_runs.write(tmp_path / name, keys, [50, 60], results)
    (folder / "metrics.csv").write_text("step,<b>$loss_{\n1,2\n2,3\n")
    (folder / "ranking.csv").write_text("arch,accuracy\n<b>4-3-3</b>,60\n")
    report_runs.draw(folder / "<b>.png")
    other = report_runs.write(tmp_path / "other", report_runs.config())
    parts = Parts(page(read_runs([folder, other]), NASTY))
    assert {tag for tag, _ in parts.elements}.isdisjoint({"script", "b"})
    text = "".join(parts.texts)
    assert text.count("<script>alert(") > 8
    assert "<b>4-3-3</b>" in text
    assert "<b>.png" in text
    assert [attributes["alt"] for attributes in parts.of("img")][-1] == "<b>.png"


def test_metrics_are_drawn_but_times_and_single_points(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run")
    (run / "metrics.csv").write_text(
        "step,epoch,time/data_wait,train/loss,val/accuracy,density/temperature,ranking/kendall_tau,ranking/pearson,a\n"
        "1,0,1,1,1,1,1,1,\n2,1,2,2,2,,2,2,1\n3,2,3,3,3,,3,3,2\n"
    )
    figures = curves(methods(read_runs([run])))
    titles = [figure.axes[0].get_title() for figure in figures]
    assert titles == ["ranking/kendall_tau", "val/accuracy", "train/loss", "a"]


def test_one_run_is_not_compared(tmp_path: Path) -> None:
    text = page(read_runs(two_runs(tmp_path)[:1]), "One run")
    assert 'id="methods"' not in text
    assert 'id="settings"' not in text
    assert 'id="curves"' in text


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", report_runs.config())
    text = page(read_runs([run]), "Begun")
    assert "No run has written any yet." in text
    assert 'id="curves"' not in text
    assert "Rankings" not in text


def test_commands_that_were_typed_stand_once_and_in_their_folder(tmp_path: Path) -> None:
    typed = {
        "fit": ("fit", "/a"),
        "prune": ("prune", "/b c"),
        "validate": ("validate", "/a"),
        "test": ("fit", "/a"),
    }
    environment = {verb: {"command": command, "folder": folder} for verb, (command, folder) in typed.items()}
    run = report_runs.write(tmp_path / "run", report_runs.config(), results={"environment.json": environment})
    expected = ["cd /a", "fit", "validate", "cd '/b c'", "prune"]
    assert commands(read_runs([run])[0]) == expected
    # The results of a search lie in a folder of their own.
    report_runs.write(
        run / "fast", results={"environment.json": {"search": {"command": "search", "folder": "/b c"}}}
    )
    assert commands(read_runs([run])[0]) == expected
    (run / "fast" / "search.json").write_text("{}")
    assert commands(read_runs([run])[0]) == [*expected, "search"]
    assert list(read_runs([run])[0].environment) == [*typed, "fast/search"]


@pytest.mark.parametrize(
    ("key", "verb"), [("ranking", "fit"), ("strategy", "learn"), ("arch", "retrain"), ("tree", None)]
)
def test_a_run_of_earlier_versions_is_repeated_from_its_configuration(
    key: str, verb: str | None, tmp_path: Path
) -> None:
    run = report_runs.write(tmp_path / "a run", {**report_runs.config(), key: "x"})
    expected = [f"lightning-nas {verb} -c '{run}/config.yaml'"] if verb else []
    assert commands(read_runs([run])[0]) == expected


def test_a_picture_that_is_none_is_told(tmp_path: Path) -> None:
    run = report_runs.write(tmp_path / "run", report_runs.config())
    (run / "figure.png").write_text("<svg>")
    with pytest.raises(NASError, match=r"run/figure\.png is no PNG image"):
        page(read_runs([run]), "Wrong")
