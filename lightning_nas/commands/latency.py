"""``lightning-nas latency``: what the networks of a space take on this device."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_nas import plots
from lightning_nas.errors import NASError
from lightning_nas.evaluation import PartialScores
from lightning_nas.files import require_writable
from lightning_nas.latency import (
    Clock,
    Conditions,
    Device,
    LatencyTable,
    Precision,
    Selection,
    measure,
    select,
)
from lightning_nas.spaces import SearchSpace

Floats = NDArray[np.float64]


def latency(
    *,
    space: SearchSpace,
    networks: int = 200,
    rounds: int = 5,
    device: Device = "cpu",
    threads: int = 1,
    batch: int = 1,
    precision: Precision = "32",
    channels_last: bool = False,
    clock: Clock = "wall",
    seed: int = 0,
    out: Path = Path("latency.json"),
) -> None:
    """Measure networks on this device, and write a table of what every choice takes, for ``search --latency.table``.

    Says how well the sums predict networks from which they do not come. Writes OUT, and beside it a figure and a CSV
    file of predicted and measured latencies. Interrupted, the same command continues.

    Args:
        space: The search space, such as MobileNetV2; its arguments as --space.image_size and so on.
        networks: How many networks are measured: random ones, of which a fifth is held out.
        rounds: How often each is measured; the fastest counts.
        device: Where they run: cpu or cuda.
        threads: Of the CPU.
        batch: Images that go through a network at once; a latency is that of the batch.
        precision: Of weights and images: 32, bf16 or 16 bits.
        channels_last: Lay the channels of a pixel side by side in memory.
        clock: Count all time (wall), or only what one thread of the CPU worked for this process (process), which is
            nearer to the truth on a machine that others use, too.
        seed: Of the choice of networks.
        out: The table, a JSON file.

    Raises:
        NASError: A number is out of range, the device is missing, or out exists.
    """
    conditions = Conditions(device, threads, batch, precision, channels_last, clock)
    if networks < 5:
        raise NASError(f"networks is {networks}: valid are numbers from 5, a fifth of which is held out")
    if rounds < 1 or seed < 0:
        raise NASError(f"rounds is {rounds} and seed is {seed}: valid are numbers from 1 and from 0")
    _require_free(out)
    facts = conditions.facts
    selection = select(space, networks, seed)
    settings = {"space": space.describe(), "networks": networks, "rounds": rounds, "seed": seed, **facts}
    record = PartialScores(out.with_suffix(".partial"), settings)
    try:
        latencies = measure(space, selection.paths, conditions, rounds, record)
    except KeyboardInterrupt:
        sys.exit(f"Interrupted: what is measured stands in {record.path}; the same command continues")
    table = LatencyTable.fit(space, selection, latencies, facts)
    _draw(space, selection, latencies, table, out)
    table.write(out)
    record.remove()
    print(
        f"{out}: {len(latencies)} networks on {table.setting}, {latencies.min():.4g} to {latencies.max():.4g} ms\n"
        f"{table.agreement}"
    )


def _require_free(out: Path) -> None:
    """Refuses a file that cannot be written, before anything is measured.

    Raises:
        NASError: It is no JSON file, or exists, or its folder cannot be written.
    """
    if out.suffix != ".json":
        raise NASError(f"out is {str(out)!r}: a table of latencies is a .json file")
    if out.exists():
        raise NASError(f"out is {str(out)!r}, which exists: choose another, or remove it to measure anew")
    require_writable(out.parent, out)


def _draw(
    space: SearchSpace, selection: Selection, latencies: Floats, table: LatencyTable, out: Path
) -> None:
    predicted = np.array([table.predict(path) for path in selection.paths])
    held_out = np.arange(len(latencies)) >= len(selection.fitted)
    data: dict[str, Iterable[object]] = {
        "arch": [space.encode(path) for path in selection.paths],
        "held_out": held_out.astype(int),
        "measured_ms": latencies.round(6),
        "predicted_ms": predicted,
    }
    figure = plots.predicted_vs_measured(latencies, predicted, held_out, table.setting)
    plots.save(figure, out.with_suffix(".png"), data)
