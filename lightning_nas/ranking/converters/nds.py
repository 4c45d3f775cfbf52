"""Network design spaces (Radosavovic et al., 2019): random networks of two families on CIFAR-10."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.ranking.converters.reading import averaged, percent, read_json, require

Family = Literal["ResNet", "ResNeXt-A"]

# By letter in the text of an architecture: the key in the file.
PARTS: dict[Family, dict[str, str]] = {
    "ResNet": {"d": "ds", "w": "ws"},
    "ResNeXt-A": {"d": "ds", "w": "ws", "r": "bot_muls", "g": "num_gs"},
}
BLOCKS: dict[Family, str] = {"ResNet": "res_basic", "ResNeXt-A": "res_bottleneck"}
STAGES = 3


def convert(source: Path, family: Family) -> TabularBenchmark:
    """Ground truth from the official files.

    A file is a list of trained networks. Its ``net`` has depths, widths, and in ResNeXt also bottleneck ratios
    and groups, each with an entry for the stem in front; ``min_test_top1`` is the lowest test error in percent
    of all epochs. An architecture is written ``d3-3-3_w16-32-64``, in ResNeXt
    ``d2-2-2_w64-128-256_r0.5-0.5-0.5_g4-4-4``. Several trainings of one architecture are averaged.

    Args:
        source: ``ResNet.json`` or ``ResNeXt-A.json``; or a folder with ``<family>_rng1.json`` and so on, the same
            architectures trained with several seeds.
        family: Which networks the file holds.

    Raises:
        NASError: A file is not of this form, or there is none.
    """
    files = sorted(source.glob(f"{family}_rng*.json")) if source.is_dir() else [source]
    require(files, f"{source} has no file {family}_rng1.json; give one file, or the folder of several seeds.")
    runs: dict[str, list[float]] = defaultdict(list)
    for file in files:
        jobs = read_json(file)
        require(isinstance(jobs, list) and jobs, f"{file} must hold a list of trained networks.")
        for number, job in enumerate(tqdm(jobs, desc=file.name, disable=None)):
            place = f"{file} network {number}"
            arch = _arch(job, family, place)
            runs[arch].append(100 - percent(job.get("min_test_top1"), place))
    return averaged(source, {"cifar10": runs})


def _arch(job: Any, family: Family, place: str) -> str:
    net = job.get("net") if isinstance(job, dict) else None
    if not isinstance(net, dict):
        raise NASError(f"{place} has no entry net.")
    block = net.get("block_type", BLOCKS[family])
    require(
        str(block).startswith(BLOCKS[family]),
        f"{place} has blocks {block!r}, which are not those of {family}.",
    )
    return "_".join(
        letter + _numbers(net.get(key), f"{place} {key}") for letter, key in PARTS[family].items()
    )


def _numbers(values: object, place: str) -> str:
    if not isinstance(values, Sequence) or len(values) != STAGES + 1:
        raise NASError(
            f"{place} is {values!r}, but must be {STAGES + 1} numbers: the stem's and {STAGES} stages'."
        )
    _, *stages = values
    for value in stages:
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise NASError(f"{place} has {value!r}, but must have positive numbers.")
    return "-".join(f"{value:g}" for value in stages)
