"""How an architecture is learnt."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import rgb2hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from lightning_nas.plots import style

MAX_COLUMNS = 6


def probabilities_over_epochs(
    epochs: Sequence[int], probabilities: Sequence[ArrayLike], names: Sequence[Sequence[str] | None]
) -> Figure:
    """The probability of every choice over the epochs, a panel per decision.

    Operations have the same colour in all panels and stand in the legend; where choices have no names, the number of the
    winner alone is said.

    Args:
        epochs: Numbers of the epochs, e of them.
        probabilities: For every decision, shape (e, choices).
        names: For every decision the names of its choices, or None.
    """
    columns = min(math.ceil(math.sqrt(len(probabilities))), MAX_COLUMNS)
    rows = math.ceil(len(probabilities) / columns)
    figure = style.new_figure(2.1 * columns + 0.4, 1.7 * rows + 0.7)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    known = list(dict.fromkeys(name for own in names for name in own or ()))
    shades = {name: rgb2hex(colormaps["tab10"](number % 10)) for number, name in enumerate(known)}
    for decision, (axes, curves) in enumerate(zip(panels, probabilities, strict=False)):
        own, values = names[decision], np.asarray(curves, dtype=np.float64)
        winner = int(values[-1].argmax())
        for choice, curve in enumerate(values.T):
            shade = shades[own[choice]] if own else str(0.0 if choice == winner else 0.7)
            axes.plot(
                epochs, curve, style.marker(len(epochs)) + "-", color=shade, linewidth=1.2, markersize=3
            )
        style.tidy(axes, f"{decision}: {own[winner] if own else f'choice {winner}'}", "", "")
        axes.set_title(axes.get_title(), fontsize=style.TICK_SIZE)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in panels[len(probabilities) :]:
        axes.set_visible(False)
    figure.supxlabel("epoch", fontsize=style.LABEL_SIZE)
    figure.supylabel("probability", fontsize=style.LABEL_SIZE)
    if known:
        _name(figure, panels[0], shades)
    return figure


def _name(figure: Figure, axes: Axes, shades: dict[str, str]) -> None:
    lines = [axes.plot([], [], color=shade)[0] for shade in shades.values()]
    figure.legend(
        lines, list(shades), loc="outside upper center", ncols=4, fontsize=style.TICK_SIZE, frameon=False
    )
