"""NAS-Bench-201 (Dong and Yang, 2020): 15,625 cells on CIFAR-10, CIFAR-100 and ImageNet16-120.

Ground truth is the test accuracy after the last of 200 epochs, averaged over the seeds that were trained.
"""

import itertools
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from tqdm import tqdm

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.ranking.converters.reading import averaged, percent, require, require_complete
from lightning_nas.spaces.nasbench201_graph import OPERATIONS

# By dataset of the table: the name in the official file, and the split that is tested on. CIFAR-10 is tested on
# all test images; of the other two, half of them were set apart for validation.
TEST_SPLITS = {
    "cifar10": ("cifar10", "ori-test"),
    "cifar100": ("cifar100", "x-test"),
    "imagenet16_120": ("ImageNet16-120", "x-test"),
}
LAST_EPOCH = 199

LISTS = {
    "cifar10": "cifar10_accs.pkl",
    "cifar100": "cifar100_accs.pkl",
    "imagenet16_120": "imagenet_accs.pkl",
}


def convert(source: Path) -> TabularBenchmark:
    """Ground truth from any of its published forms.

    Args:
        source: The official file (``.pth``), the folder of the three published lists of accuracies
            (``cifar10_accs.pkl`` and so on), or a CSV table.

    Raises:
        NASError: The source is none of these, or lacks something.
    """
    if source.is_dir():
        table = from_lists(source)
    elif source.suffix == ".pth":
        table = from_api(source)
    elif source.suffix == ".pkl":
        table = from_lists(source.parent)
    else:
        table = TabularBenchmark.read(source)
    return require_complete(table, all_archs())


def all_archs() -> list[str]:
    """All architectures in product order: the last edge changes first."""
    return [
        f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        for a, b, c, d, e, f in itertools.product(OPERATIONS, repeat=6)
    ]


def from_api(source: Path) -> TabularBenchmark:
    """Ground truth from the official file ``NAS-Bench-201-v1_1-096897.pth``.

    The file nests dictionaries: ``arch2infos[index]["full"]`` holds the runs of 200 epochs, in it
    ``dataset_seed[dataset]`` the seeds and ``all_results[dataset, seed]["eval_acc1es"]["<split>@<epoch>"]`` the
    accuracies (state dictionaries of ArchResults and ResultsCount in the official ``nas_201_api``).

    Raises:
        NASError: The file is not of this form, or holds anything but plain data.
    """
    rank_zero_info(
        f"Reading {source}: the official file takes many minutes, and memory several times its size."
    )
    infos = _entry(_load_plain(source), "arch2infos", str(source))
    require(isinstance(infos, dict), f"{source} has no dictionary arch2infos.")
    runs: dict[str, dict[str, list[float]]] = {dataset: {} for dataset in TEST_SPLITS}
    for index, info in tqdm(infos.items(), desc="architectures", disable=None):
        place = f"{source} architecture {index}"
        state = _entry(info, "full", place)
        arch = str(_entry(state, "arch_str", place))
        require(arch not in runs["cifar10"], f"{place} repeats {arch!r}.")
        for dataset in TEST_SPLITS:
            runs[dataset][arch] = _test_accuracies(state, dataset, place)
    return averaged(source, runs)


def _test_accuracies(state: Any, dataset: str, place: str) -> list[float]:
    name, split = TEST_SPLITS[dataset]
    place = f"{place} on {name}"
    results = _entry(state, "all_results", place)
    seeds = _entry(_entry(state, "dataset_seed", place), name, place)
    require(isinstance(seeds, list) and seeds, f"{place} has no seeds.")
    runs = [_entry(_entry(results, (name, seed), place), "eval_acc1es", place) for seed in seeds]
    return [percent(_entry(run, f"{split}@{LAST_EPOCH}", place), place) for run in runs]


def _entry(container: Any, key: object, place: str) -> Any:
    if not isinstance(container, dict) or key not in container:
        raise NASError(
            f"{place} has no {key!r}; the file is not of the form of NAS-Bench-201-v1_1-096897.pth."
        )
    return container[key]


def _load_plain(source: Path) -> Any:
    """The content of a file of ``torch.save``, which must be containers, numbers and tensors."""
    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            mapped = zipfile.is_zipfile(source)
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    # A damaged file makes the reader stumble in many ways, all of them harmless.
    except Exception as error:
        raise NASError(f"{source} cannot be read as plain data: {_reason(error)}") from error


def _numpy_numbers() -> list[Any]:
    """What reads a number of numpy: the official file counts parameters in them. Nothing else of numpy is let in."""
    reconstruct = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(number)) for number in (np.float64, np.float32, np.int64)]
    return [
        np.dtype,
        *types,
        *((reconstruct, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    ]


def _reason(error: Exception) -> str:
    """What was refused. Torch's own message advises to load the file without safety."""
    if refused := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it names {refused[1]}, but only containers, numbers and tensors are read."
    lines = str(error).strip().splitlines()
    return lines[0] if lines else f"{type(error).__name__}."


def from_lists(folder: Path) -> TabularBenchmark:
    """Ground truth from pickled lists of 15,625 accuracies in product order, one per dataset.

    Raises:
        NASError: A list is missing, is no list of 15,625 accuracies, or holds anything but plain data.
    """
    archs = all_archs()
    runs: dict[str, dict[str, list[float]]] = {}
    for dataset, name in LISTS.items():
        accuracies = _load_list(folder / name)
        require(
            isinstance(accuracies, list) and len(accuracies) == len(archs),
            f"{folder / name} must hold a list of {len(archs)} accuracies.",
        )
        runs[dataset] = {
            arch: [percent(accuracy, f"{folder / name} entry {number}")]
            for number, (arch, accuracy) in enumerate(zip(archs, accuracies, strict=True))
        }
    return averaged(folder, runs)


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, text and numbers; refuses everything that names a class or a function."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}, but only lists of plain numbers are read")


def _load_list(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except FileNotFoundError:
        names = ", ".join(LISTS.values())
        raise NASError(f"{path} does not exist; the folder must hold {names}.") from None
    # A damaged pickle makes the reader stumble in many ways, all of them harmless.
    except Exception as error:
        raise NASError(f"{path} cannot be read as a pickled list of numbers: {error}.") from error
