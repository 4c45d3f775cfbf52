import json
from pathlib import Path
from typing import Any

import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking.converters import macro

FIRST = {
    "test_acc": [45.29, 45.43, 45.37],
    "mean_acc": 45.36333,
    "std": 0.05735,
    "params": 387882,
    "flops": 7713280,
}


def entries() -> dict[str, Any]:
    return {arch: dict(FIRST) for arch in macro.all_archs()}


def write(folder: Path, content: object) -> Path:
    file = folder / "nas-bench-macro_cifar10.json"
    file.write_text(json.dumps(content))
    return file


def test_official_file(tmp_path: Path) -> None:
    content = entries()
    content["22212220"] = {
        "test_acc": [93.0, 93.1, 93.3],
        "mean_acc": 93.1333,
        "std": 0.12,
        "params": 1,
        "flops": 2,
    }
    table = macro.convert(write(tmp_path, content))
    assert len(table.archs) == 3**8
    assert table.column()["00000000"] == 45.3633
    assert table.column()["22212220"] == 93.1333
    assert table.deviations["cifar10"]["00000000"] == 0.0573
    assert table.costs["params"]["00000000"] == 387882
    assert table.costs["flops"]["22212220"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_acc": [1.0, 2.0]}, r"architecture '00000001' must have a list test_acc of 3 accuracies"),
        ({"test_acc": [1.0, 2.0, 300.0]}, "architecture '00000001' gives the accuracy 300.0"),
        ({"mean_acc": 45.5}, r"has mean_acc 45\.5, but the mean of its test_acc is 45\.3633"),
        ({"mean_acc": None}, "architecture '00000001' gives the accuracy None"),
        ({"params": 1.5}, r"architecture '00000001' has params 1\.5, but it must be a whole number"),
        ({"flops": None}, "architecture '00000001' has flops None"),
    ],
)
def test_entries_of_another_form_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = entries()
    content["00000001"] |= change
    with pytest.raises(NASError, match=message):
        macro.convert(write(tmp_path, content))


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    content = entries()
    del content["22222222"]
    with pytest.raises(NASError, match=r"lacks 1 architecture \('22222222'\) of the 6561"):
        macro.convert(write(tmp_path, content))
    with pytest.raises(
        NASError, match=r"holds 1 architecture \('00000003'\) that the search space does not have"
    ):
        macro.convert(write(tmp_path, entries() | {"00000003": FIRST}))
    with pytest.raises(NASError, match="must hold a dictionary of architectures"):
        macro.convert(write(tmp_path, [FIRST]))
