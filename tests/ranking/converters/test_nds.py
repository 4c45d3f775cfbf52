import json
from pathlib import Path
from typing import Any

import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking.converters import nds


def resnet(error: float, depths: tuple[int, ...] = (1, 3, 4, 24), **changes: Any) -> dict[str, Any]:
    net = {"block_type": "res_basic_block", "ds": list(depths), "ws": [16, 16, 48, 256], "ss": [1, 1, 2, 2]}
    return {"net": net | changes, "min_test_top1": error, "params": 1, "rng_seed": 1}


def resnext(error: float) -> dict[str, Any]:
    net = {
        "block_type": "res_bottleneck_block",
        "ds": [1, 2, 16, 1],
        "ws": [16, 64, 128, 256],
        "bot_muls": [0, 0.5, 1.0, 0.25],
        "num_gs": [1, 4, 2, 1],
    }
    return {"net": net, "min_test_top1": error}


def write(file: Path, content: object) -> Path:
    file.write_text(json.dumps(content))
    return file


def test_accuracy_is_what_the_error_leaves(tmp_path: Path) -> None:
    file = write(tmp_path / "ResNet.json", [resnet(6.25), resnet(90, depths=(1, 1, 1, 1))])
    table = nds.convert(file, "ResNet")
    assert table.column() == {"d3-4-24_w16-48-256": 93.75, "d1-1-1_w16-48-256": 10.0}
    assert not table.deviations


def test_ratios_and_groups_of_resnext(tmp_path: Path) -> None:
    table = nds.convert(write(tmp_path / "ResNeXt-A.json", [resnext(8.0)]), "ResNeXt-A")
    assert table.column() == {"d2-16-1_w64-128-256_r0.5-1-0.25_g4-2-1": 92.0}


def test_trainings_of_one_architecture_are_averaged(tmp_path: Path) -> None:
    file = write(tmp_path / "ResNet.json", [resnet(6), resnet(7), resnet(9, depths=(1, 1, 1, 1)), resnet(8)])
    table = nds.convert(file, "ResNet")
    assert table.column() == {"d3-4-24_w16-48-256": 93.0, "d1-1-1_w16-48-256": 91.0}
    assert table.deviations["cifar10"] == {"d3-4-24_w16-48-256": 0.8165, "d1-1-1_w16-48-256": 0.0}


def test_seeds_in_several_files_are_averaged(tmp_path: Path) -> None:
    for seed, error in ((1, 6), (2, 7), (3, 8)):
        write(tmp_path / f"ResNet_rng{seed}.json", [resnet(error)])
    write(tmp_path / "ResNet.json", [resnet(50)])
    assert nds.convert(tmp_path, "ResNet").column() == {"d3-4-24_w16-48-256": 93.0}
    with pytest.raises(NASError, match=r"has no file ResNeXt-A_rng1\.json"):
        nds.convert(tmp_path, "ResNeXt-A")


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"min_test_top1": 6}, "network 1 has no entry net"),
        ("text", "network 1 has no entry net"),
        (resnet(101), "network 1 gives the accuracy 101"),
        ({"net": resnet(1)["net"]}, "network 1 gives the accuracy None"),
        (
            resnet(6, ds=[1, 2, 3]),
            r"network 1 ds is \[1, 2, 3\], but must be 4 numbers: the stem's and 3 stages'",
        ),
        (resnet(6, ws=None), "network 1 ws is None"),
        (resnet(6, ws=[16, 16, "a", 32]), "network 1 ws has 'a', but must have positive numbers"),
        (resnet(6, ws=[16, 0, 16, 32]), "network 1 ws has 0"),
        (resnext(6), "network 1 has blocks 'res_bottleneck_block', which are not those of ResNet"),
    ],
)
def test_networks_of_another_form_are_refused(tmp_path: Path, job: object, message: str) -> None:
    file = write(tmp_path / "ResNet.json", [resnet(5), job])
    with pytest.raises(NASError, match=message):
        nds.convert(file, "ResNet")


def test_files_of_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="must hold a list of trained networks"):
        nds.convert(write(tmp_path / "ResNet.json", {"top": [], "mid": []}), "ResNet")
    with pytest.raises(NASError, match="cannot be read as JSON"):
        nds.convert(tmp_path / "nowhere.json", "ResNet")
