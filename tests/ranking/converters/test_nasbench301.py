import json
from pathlib import Path
from typing import Any

import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking.converters import nasbench301

NORMAL = {0: "skip_connect", 1: "sep_conv_3x3", 2: "sep_conv_3x3", 3: "skip_connect"}
NORMAL |= {5: "dil_conv_3x3", 7: "dil_conv_5x5", 10: "sep_conv_3x3", 11: "skip_connect"}
REDUCE = {0: "max_pool_3x3", 1: "avg_pool_3x3", 2: "skip_connect", 3: "dil_conv_5x5"}
REDUCE |= {6: "sep_conv_3x3", 7: "sep_conv_5x5", 11: "sep_conv_3x3", 12: "dil_conv_3x3"}

# The genotype from which the authors' own code makes the configuration above.
GENOTYPE = (
    "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 1), "
    "('dil_conv_3x3', 0), ('dil_conv_5x5', 2), ('sep_conv_3x3', 1), ('skip_connect', 2)], "
    "normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 0), ('dil_conv_5x5', 1), "
    "('sep_conv_3x3', 1), ('sep_conv_5x5', 2), ('sep_conv_3x3', 2), ('dil_conv_3x3', 3)], "
    "reduce_concat=[2, 3, 4, 5])"
)


def configuration(**changes: Any) -> dict[str, Any]:
    darts: dict[str, Any] = {f"edge_normal_{edge}": operation for edge, operation in NORMAL.items()}
    darts |= {f"edge_reduce_{edge}": operation for edge, operation in REDUCE.items()}
    darts |= {"inputs_node_normal_3": "0_1", "inputs_node_normal_4": "0_2", "inputs_node_normal_5": "1_2"}
    darts |= {"inputs_node_reduce_3": "0_1", "inputs_node_reduce_4": "1_2", "inputs_node_reduce_5": "2_3"}
    darts |= {"layers": 8, "init_channels": 32, "auxiliary": "True"}
    config = {f"NetworkSelectorDatasetInfo:darts:{key}": value for key, value in (darts | changes).items()}
    return config | {"SimpleLearningrateSchedulerSelector:cosine_annealing:T_max": 100}


def write(file: Path, test: object, val: object = 90.0, **changes: Any) -> None:
    file.parent.mkdir(exist_ok=True, parents=True)
    result = {
        "optimized_hyperparamater_config": configuration(**changes),
        "budget": 100,
        "info": [{"val_accuracy": val, "train_accuracy": 99.0}],
        "test_accuracy": test,
        "runtime": 1,
    }
    file.write_text(json.dumps(result))


def test_genotype() -> None:
    assert nasbench301.genotype(configuration(), "") == GENOTYPE


def test_folder(tmp_path: Path) -> None:
    write(tmp_path / "rs" / "results_0.json", 93.5, 92.5)
    write(tmp_path / "de" / "results_0.json", 94.5, 91.5)
    write(tmp_path / "de" / "results_1.json", 90.0, edge_normal_0="max_pool_3x3")
    (tmp_path / "de" / "other.json").write_text("{}")
    table = nasbench301.convert(tmp_path)
    other = GENOTYPE.replace("('skip_connect', 0)", "('max_pool_3x3', 0)", 1)
    assert table.datasets == ("cifar10", "cifar10_valid")
    assert table.column("cifar10") == {GENOTYPE: 94.0, other: 90.0}
    assert table.column("cifar10_valid") == {GENOTYPE: 92.0, other: 90.0}
    assert table.deviations["cifar10"] == {GENOTYPE: 0.5, other: 0.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_normal_5": None}, r"results_1\.json has edge_normal_5 None; valid are max_pool_3x3, "),
        ({"edge_reduce_12": "none"}, "has edge_reduce_12 'none'"),
        ({"inputs_node_normal_3": "0_3"}, r"has inputs_node_normal_3 '0_3'; valid are 0_1, 0_2, 1_2\."),
        ({"inputs_node_reduce_5": None}, "has inputs_node_reduce_5 None; valid are 0_1, .* 3_4"),
        ({"inputs_node_normal_4": "1_1"}, "has inputs_node_normal_4 '1_1'"),
        ({"layers": 20}, r"results_1\.json was trained otherwise than .*results_0\.json"),
        ({"test": 101}, r"results_1\.json test_accuracy gives the accuracy 101"),
        ({"val": None}, r"results_1\.json val_accuracy gives the accuracy None"),
    ],
)
def test_results_of_another_form_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path / "results_0.json", 93.5)
    write(tmp_path / "results_1.json", **({"test": 93.0} | changes))
    with pytest.raises(NASError, match=message):
        nasbench301.convert(tmp_path)


def test_other_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"has no file results_\*\.json"):
        nasbench301.convert(tmp_path)
    (tmp_path / "results_0.json").write_text("[]")
    with pytest.raises(NASError, match=r"results_0\.json is no dictionary"):
        nasbench301.convert(tmp_path)
    (tmp_path / "results_0.json").write_text("{}")
    with pytest.raises(NASError, match=r"results_0\.json configuration is no dictionary"):
        nasbench301.convert(tmp_path)
