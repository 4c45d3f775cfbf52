import numpy as np

from lightning_nas import plots
from lightning_nas.plots import Branch


def test_a_tree_has_a_line_for_every_leaf() -> None:
    left = Branch("0: a", (Branch("leaf 0"), Branch("leaf 1")))
    figure = plots.split_tree(Branch("9 paths", (left, Branch("0: b, c", (Branch("leaf 2"),)))), "split")
    [axes] = figure.axes
    place = {text.get_text(): text.get_position() for text in axes.texts}
    assert set(place) == {"9 paths", "0: a", "0: b, c", "leaf 0", "leaf 1", "leaf 2"}
    heights = [place[f"leaf {leaf}"][1] for leaf in range(3)]
    assert heights == sorted(heights, reverse=True)
    assert len({place[f"leaf {leaf}"][0] for leaf in range(3)}) == 1
    assert place["0: a"][1] == np.mean(heights[:2])
    assert place["0: b, c"][1] == heights[2]
    assert len(axes.lines) == 5


def test_ground_truth_has_a_box_for_every_leaf() -> None:
    truths = [np.linspace(50, 60, 20), np.linspace(70, 90, 30)]
    [axes] = plots.truth_of_leaves(truths, 90).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0\n20", "1\n30"]
    assert axes.get_legend_handles_labels()[1] == ["best of all: 90.00 %"]
    low, high = axes.get_ylim()
    assert low < 52
    assert high > 90


def test_leaves_over_epochs_with_and_without_ground_truth() -> None:
    curves = {0: ([1, 2], [10.0, 20.0]), 3: ([1], [12.0])}
    figure = plots.leaves_over_epochs(curves, curves)
    assert [axes.get_title() for axes in figure.axes] == ["validation accuracy", "path ranked first"]
    assert [np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines] == [[1, 2], [1]]
    assert [line.get_label() for line in figure.axes[1].lines] == ["leaf 0", "leaf 3"]
    assert len(plots.leaves_over_epochs(curves, {}).axes) == 1


def test_what_was_found_has_a_panel_for_every_table_and_grey_where_nothing_was() -> None:
    tables = {"best": [[90.0, 80.0], [70.0, np.nan]], "chosen": [[60.0, 50.0], [40.0, 30.0]]}
    figure = plots.found_by_split(["none", "random"], ["DARTS", "SNAS"], tables, "found")
    left, right = figure.axes
    assert [text.get_text() for text in left.texts] == ["90.00", "80.00", "70.00"]
    assert [text.get_text() for text in right.texts] == ["60.00", "50.00", "40.00", "30.00"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["none", "random"]
