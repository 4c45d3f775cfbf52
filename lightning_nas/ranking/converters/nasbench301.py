"""NAS-Bench-301 (Siems et al., 2020): the trained networks of the DARTS space to which its predictors were fitted."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.ranking.converters.reading import averaged, percent, read_json, require
from lightning_nas.spaces.darts_graph import NODES, OPERATIONS

PREFIX = "NetworkSelectorDatasetInfo:darts:"
# How large the network was and how long it was trained: accuracies compare only where these agree.
SETTINGS = (
    PREFIX + "layers",
    PREFIX + "init_channels",
    "SimpleLearningrateSchedulerSelector:cosine_annealing:T_max",
)


def convert(source: Path) -> TabularBenchmark:
    """Ground truth from a folder of ``results_*.json`` files, one per trained network.

    A file has the architecture in ``optimized_hyperparamater_config`` (its spelling): the operation of every edge
    that exists (``edge_normal_0``) and the inputs of nodes 3 to 5 (``inputs_node_normal_3``: ``0_2``); node 2 has
    inputs 0 and 1. Edges are numbered over all possible ones: node 2 has 0 and 1, node 3 has 2 to 4, and so on.
    Architectures are written as a ``Genotype`` of DARTS.

    Returns:
        The columns ``cifar10`` (test accuracy) and ``cifar10_valid``; architectures trained several times are
        averaged.

    Raises:
        NASError: A file is not of this form, or the networks were not trained alike.
    """
    files = sorted(source.rglob("results_*.json"))
    require(files, f"{source} has no file results_*.json; give the folder of the unpacked data set.")
    runs: dict[str, dict[str, list[float]]] = {
        "cifar10": defaultdict(list),
        "cifar10_valid": defaultdict(list),
    }
    trained: dict[tuple[object, ...], Path] = {}
    for file in tqdm(files, desc="networks", disable=None):
        result = _dictionary(read_json(file), str(file))
        config = _dictionary(result.get("optimized_hyperparamater_config"), f"{file} configuration")
        trained.setdefault(tuple(config.get(key) for key in SETTINGS), file)
        require(
            len(trained) == 1,
            f"{file} was trained otherwise than {files[0]}: layers, channels or epochs differ.",
        )
        arch = genotype(config, str(file))
        runs["cifar10"][arch].append(percent(result.get("test_accuracy"), f"{file} test_accuracy"))
        runs["cifar10_valid"][arch].append(percent(_validation(result), f"{file} val_accuracy"))
    return averaged(source, runs)


def genotype(config: Mapping[str, Any], place: str) -> str:
    """The text of an architecture.

    Args:
        config: Settings of a network.
        place: Where they stand, for messages.

    Raises:
        NASError: An edge or the inputs of a node are missing or impossible.
    """
    normal, reduce = (_cell(config, cell, place) for cell in ("normal", "reduce"))
    concat = list(NODES)
    return f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduce}, reduce_concat={concat})"


def _cell(config: Mapping[str, Any], cell: str, place: str) -> list[tuple[str, int]]:
    edges = []
    first = 0
    for node in NODES:
        for source in _inputs(config, cell, node, place):
            key = f"edge_{cell}_{first + source}"
            operation = config.get(PREFIX + key)
            if operation not in OPERATIONS:
                raise NASError(f"{place} has {key} {operation!r}; valid are {', '.join(OPERATIONS)}.")
            edges.append((str(operation), source))
        first += node
    return edges


def _inputs(config: Mapping[str, Any], cell: str, node: int, place: str) -> tuple[int, int]:
    if node == NODES[0]:
        return (0, 1)
    key = f"inputs_node_{cell}_{node}"
    text = config.get(PREFIX + key)
    valid = {f"{one}_{other}": (one, other) for other in range(node) for one in range(other)}
    if text not in valid:
        raise NASError(f"{place} has {key} {text!r}; valid are {', '.join(valid)}.")
    return valid[text]


def _validation(result: Mapping[str, Any]) -> object:
    info = result.get("info")
    return (
        info[0].get("val_accuracy") if isinstance(info, list) and info and isinstance(info[0], dict) else None
    )


def _dictionary(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NASError(f"{place} is no dictionary; the file is not of the form of NAS-Bench-301.")
    return value
