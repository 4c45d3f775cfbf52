from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text

from lightning_nas import plots
from lightning_nas.plots.architecture import MAX_PER_LINE

CELL = (
    "cell",
    ("input", "a", "b", "output"),
    ((0, 1, "conv"), (0, 2, "conv"), (1, 2, "pool"), (0, 3, "skip"), (1, 3, "conv"), (2, 3, "skip")),
)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def boxes(figure: Figure) -> list[FancyBboxPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


def arrows(figure: Figure) -> list[FancyArrowPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie on each other when the figure is drawn."""
    figure.canvas.draw()
    shown: list[Text] = [text for text in figure.axes[0].texts if text.get_text()]
    extents = [text.get_window_extent() for text in shown]
    return [
        (shown[i].get_text(), shown[j].get_text())
        for i in range(len(shown))
        for j in range(i)
        if extents[i].overlaps(extents[j])
    ]


def test_a_chain_has_a_row_per_stage_and_an_arrow_between_layers() -> None:
    figure = plots.drawn(
        plots.chain([("32 x 32", ("stem", "conv")), ("16 x 16", ("pool", "conv", "conv"))]), "title"
    )
    assert texts(figure) == ["32 x 32", "stem", "conv", "16 x 16", "pool", "conv", "conv"]
    assert (len(boxes(figure)), len(arrows(figure))) == (5, 3)
    fills = {box.get_facecolor() for box in boxes(figure)}
    assert len(fills) == 3  # equal labels have equal colours, different ones not
    assert figure.axes[0].get_title() == "title"
    assert not overlapping(figure)


def test_a_long_row_is_wrapped_and_an_empty_one_stays() -> None:
    figure = plots.drawn(plots.chain([("deep", ("block",) * (MAX_PER_LINE + 3)), ("empty", ())]), "title")
    places = [box.get_y() for box in boxes(figure)]
    assert len(set(places)) == 2
    assert texts(figure).count("deep") == 1
    assert "empty" in texts(figure)


def test_a_cell_shows_every_node_and_every_edge() -> None:
    figure = plots.drawn(plots.cells([CELL]), "title")
    assert len(boxes(figure)) == 4
    assert len(arrows(figure)) == 6
    assert sorted(texts(figure)) == sorted(["cell", *CELL[1], *(label for *_, label in CELL[2])])
    assert not overlapping(figure)


@pytest.mark.parametrize("nodes", [5, 7])
def test_labels_of_a_complete_graph_do_not_meet(nodes: int) -> None:
    edges = [(i, j, "sep_conv_3x3") for j in range(nodes) for i in range(j)]
    names = [f"node {i}" for i in range(nodes)]
    assert not overlapping(
        plots.drawn(plots.cells([("normal", names, edges), ("reduction", names, edges)]), "title")
    )


def test_both_are_saved_in_every_format(tmp_path: Path) -> None:
    for suffix, begin in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        for sketch in (plots.cells([CELL]), plots.chain([("row", ("a",))])):
            plots.save(plots.drawn(sketch, "title"), tmp_path / f"drawing{suffix}")
            assert (tmp_path / f"drawing{suffix}").read_bytes().startswith(begin)
