import numpy as np

from lightning_nas import plots


def test_networks_that_were_held_out_stand_out() -> None:
    measured, predicted = [1.0, 2.0, 4.0], [1.5, 2.5, 3.0]
    (axes,) = plots.predicted_vs_measured(measured, predicted, [False, True, False], "a device").axes
    points = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert points["in the table"] == [[1.0, 1.5], [4.0, 3.0]]
    assert points["held out"] == [[2.0, 2.5]]
    assert np.asarray(axes.lines[0].get_xydata()).tolist() == [[1.0, 1.0], [4.0, 4.0]]
    assert axes.get_title() == "a device"
    assert "ms" in axes.get_xlabel()
    assert "ms" in axes.get_ylabel()
