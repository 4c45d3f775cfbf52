import os
import pickle
import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_nas.errors import NASError
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.ranking.converters import nasbench201

ARCHS = nasbench201.all_archs()


def test_product_order() -> None:
    assert len(set(ARCHS)) == 15625
    assert ARCHS[0] == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    # The best cells of the paper and their published positions.
    assert ARCHS[11668] == (
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    assert ARCHS[7918] == (
        "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )


# ------------------------------------------------------------------------------------------ the official file


def trial(accuracies: dict[str, float]) -> dict[str, Any]:
    """The state of one training, of which every epoch but the last is wrong on purpose."""
    epochs = {f"{split}@{epoch}": 1.5 for split in accuracies for epoch in (0, 11, 198)}
    return {
        "name": "infer.tiny",
        "net_state_dict": None,
        "train_acc1es": OrderedDict({199: 99.0}),
        "params": np.float64(0.802426),
        "flop": 113.95137,
        "latency": [0.01],
        "epochs": 200,
        "eval_names": list(accuracies),
        "eval_acc1es": epochs | {f"{split}@199": value for split, value in accuracies.items()},
    }


def state(index: int, arch: str) -> dict[str, Any]:
    """The results of an architecture: ``index`` modulo 3, plus one, seeds on CIFAR-10, one on the others."""
    seeds = [777, 888, 999][: index % 3 + 1]
    small, large = index / 1000, index / 1000 + 20
    results = {("cifar10", seed): trial({"ori-test": large + number}) for number, seed in enumerate(seeds)}
    results["cifar10-valid", 777] = trial({"x-valid": 2.5, "ori-test": 3.5})
    results["cifar100", 777] = trial({"ori-test": 4.5, "x-valid": 5.5, "x-test": small})
    results["ImageNet16-120", 777] = trial({"ori-test": 4.5, "x-valid": 5.5, "x-test": small + 1})
    return {
        "arch_index": index,
        "arch_str": arch,
        "all_results": results,
        "dataset_seed": {
            "cifar10": seeds,
            "cifar10-valid": [777],
            "cifar100": [777],
            "ImageNet16-120": [777],
        },
        "clear_net_done": True,
    }


def official(archs: list[str]) -> dict[str, Any]:
    """The form of the official file, whose order of architectures is no product order."""
    shuffled = random.Random(0).sample(archs, len(archs))
    infos = {
        index: {"full": state(index, arch), "less": {"arch_str": arch}} for index, arch in enumerate(shuffled)
    }
    return {"meta_archs": shuffled, "arch2infos": infos, "evaluated_indexes": set(infos)}


@pytest.mark.parametrize("zipped", [True, False])
def test_official_file(tmp_path: Path, zipped: bool) -> None:
    content = official(ARCHS[:6])
    file = tmp_path / "api.pth"
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    table = nasbench201.from_api(file)
    assert table.datasets == ("cifar10", "cifar100", "imagenet16_120")
    assert set(table.archs) == set(ARCHS[:6])
    names = content["meta_archs"]
    assert [table.accuracies["cifar10"][arch] for arch in names] == [
        20.0,
        20.501,
        21.002,
        20.003,
        20.504,
        21.005,
    ]
    assert [table.accuracies["cifar100"][arch] for arch in names] == [0.0, 0.001, 0.002, 0.003, 0.004, 0.005]
    assert [table.accuracies["imagenet16_120"][arch] for arch in names] == [
        pytest.approx(1 + index / 1000) for index in range(6)
    ]
    assert table.deviations.keys() == {"cifar10"}
    assert [table.deviations["cifar10"][arch] for arch in names[:3]] == [0.0, 0.5, 0.8165]


def test_official_file_with_numbers_of_an_older_numpy(tmp_path: Path) -> None:
    file = tmp_path / "api.pth"
    torch.save(official(ARCHS[:2]), file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    assert b"numpy._core.multiarray" in content
    file.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert len(nasbench201.from_api(file).archs) == 2


def test_an_incomplete_official_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "api.pth"
    torch.save(official(ARCHS[:2]), file)
    with pytest.raises(
        NASError, match=r"api\.pth lacks 15623 architectures .* of the 15625 in the search space"
    ):
        nasbench201.convert(file)


def without(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def remove(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return remove


def changed(value: Any, *keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


FULL = ("arch2infos", 1, "full")
RUN = (*FULL, "all_results", ("cifar10", 888))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("arch2infos"), r"api\.pth has no 'arch2infos'"),
        (without("arch2infos", 1, "full"), "architecture 1 has no 'full'"),
        (without(*RUN), r"architecture 1 on cifar10 has no \('cifar10', 888\)"),
        (without(*RUN, "eval_acc1es", "ori-test@199"), "architecture 1 on cifar10 has no 'ori-test@199'"),
        (without(*FULL, "dataset_seed", "cifar100"), "architecture 1 on cifar100 has no 'cifar100'"),
        (changed([], *FULL, "dataset_seed", "cifar100"), "architecture 1 on cifar100 has no seeds"),
        (
            changed(930.0, *RUN, "eval_acc1es", "ori-test@199"),
            "architecture 1 on cifar10 gives the accuracy 930.0",
        ),
    ],
)
def test_official_files_of_another_form_are_refused(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], message: str
) -> None:
    content = official(ARCHS[:3])
    spoil(content)
    file = tmp_path / "api.pth"
    torch.save(content, file)
    with pytest.raises(NASError, match=message):
        nasbench201.from_api(file)


def test_an_architecture_twice_in_the_official_file_is_refused(tmp_path: Path) -> None:
    content = official(ARCHS[:2])
    content["arch2infos"][1]["full"]["arch_str"] = content["meta_archs"][0]
    file = tmp_path / "api.pth"
    torch.save(content, file)
    with pytest.raises(NASError, match="architecture 1 repeats '"):
        nasbench201.from_api(file)


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_objects_in_the_official_file_do_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "mark"
    file = tmp_path / "api.pth"
    torch.save(official(ARCHS[:1]) | {"extra": Attack(mark)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        NASError, match=r"api\.pth cannot be read as plain data: it names posix\.mkdir, but only"
    ) as caught:
        nasbench201.from_api(file)
    assert "weights_only" not in str(caught.value)
    assert not mark.exists()
    torch.load(file, weights_only=False)
    assert mark.exists()  # it would have run


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 but broken"])
def test_broken_official_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "api.pth"
    file.write_bytes(content)
    with pytest.raises(NASError, match=r"api\.pth cannot be read as plain data"):
        nasbench201.from_api(file)
    with pytest.raises(NASError, match=r"nowhere\.pth cannot be read as plain data"):
        nasbench201.from_api(tmp_path / "nowhere.pth")


# ---------------------------------------------------------------------------------------------- pickled lists


def write_lists(folder: Path, **lists: object) -> None:
    accuracies: dict[str, object] = {name: [1.0] * 15625 for name in ("cifar10", "cifar100", "imagenet")}
    for name, values in (accuracies | lists).items():
        (folder / f"{name}_accs.pkl").write_bytes(pickle.dumps(values, protocol=2))


def test_lists_are_in_product_order(tmp_path: Path) -> None:
    numbers = [index / 1000 for index in range(15625)]
    write_lists(tmp_path, cifar10=numbers, imagenet=[1] + [2.5] * 15624)
    for source in (tmp_path, tmp_path / "cifar10_accs.pkl"):
        table = nasbench201.convert(source)
        assert table.archs == tuple(ARCHS)
        assert table.column("cifar10") == dict(zip(ARCHS, numbers, strict=True))
        assert [table.column("imagenet16_120")[arch] for arch in ARCHS[:2]] == [1.0, 2.5]
        assert not table.deviations


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0] * 15624, r"cifar100_accs\.pkl must hold a list of 15625 accuracies"),
        ({"a": 1.0}, r"cifar100_accs\.pkl must hold a list"),
        ([1.0] * 15624 + [101.0], r"cifar100_accs\.pkl entry 15624 gives the accuracy 101\.0"),
        ([[1.0]] * 15625, r"entry 0 gives the accuracy \[1\.0\]"),
        (np.ones(15625), r"names numpy\._core\.multiarray\._reconstruct, but only lists of plain numbers"),
    ],
)
def test_other_lists_are_refused(tmp_path: Path, values: object, message: str) -> None:
    write_lists(tmp_path, cifar100=values)
    with pytest.raises(NASError, match=message):
        nasbench201.convert(tmp_path)


def test_foreign_objects_in_a_list_do_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    write_lists(tmp_path, cifar10=[Attack(mark)] * 15625)
    with pytest.raises(
        NASError, match=r"cifar10_accs\.pkl .* names posix\.mkdir, but only lists of plain numbers"
    ):
        nasbench201.convert(tmp_path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Attack(mark)))
    assert mark.exists()  # it would have run


def test_broken_and_missing_lists_are_refused(tmp_path: Path) -> None:
    write_lists(tmp_path)
    (tmp_path / "imagenet_accs.pkl").write_bytes(pickle.dumps([1.0] * 15625)[:100])
    with pytest.raises(NASError, match=r"imagenet_accs\.pkl cannot be read as a pickled list"):
        nasbench201.convert(tmp_path)
    (tmp_path / "imagenet_accs.pkl").unlink()
    with pytest.raises(
        NASError, match=r"imagenet_accs\.pkl does not exist; the folder must hold cifar10_accs\.pkl, "
    ):
        nasbench201.convert(tmp_path)


# ------------------------------------------------------------------------------------------------- CSV tables


def test_tables_of_another_space_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    lines = [f"{arch},90" for arch in ARCHS]
    file.write_text("\n".join(["arch,cifar10", *lines]))
    assert nasbench201.convert(file) == TabularBenchmark.read(file)
    file.write_text("\n".join(["arch,cifar10", *lines[:5], "|none~0|,90", *lines[5:]]))
    with pytest.raises(NASError, match=r"holds 1 architecture \('\|none~0\|'\) .*, the first in line 7"):
        nasbench201.convert(file)
