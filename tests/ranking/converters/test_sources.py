import dataclasses
import hashlib
from pathlib import Path

import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.ranking.converters.sources import SOURCES, accuracy_checksum, verify

NAMES = {"nasbench201": "nasbench201", "nasbench-macro": "nasbench_macro", "pooling": "pooling_resnet20"}


def table(**accuracies: float) -> TabularBenchmark:
    return TabularBenchmark(Path("table.csv"), tuple(accuracies), {"cifar10": dict(accuracies)})


@pytest.mark.parametrize("name", NAMES)
def test_published_accuracies_are_recognised(data_root: Path, name: str) -> None:
    file = data_root / "benchmarks" / f"{NAMES[name]}.csv"
    published = TabularBenchmark.read(file)
    assert verify(SOURCES[name], file, published) == "The accuracies are the published ones."
    column = dict(published.accuracies["cifar10"])
    column[published.archs[7]] += 0.02
    changed = dataclasses.replace(published, accuracies=published.accuracies | {"cifar10": column})
    with pytest.raises(NASError, match="its checksum is another"):
        verify(SOURCES[name], file, changed)


def test_a_checksum_depends_on_the_numbers_alone() -> None:
    assert accuracy_checksum(table(a=1, b=2), 2) == accuracy_checksum(table(b=2.001, a=1), 2)
    assert accuracy_checksum(table(a=1, b=2), 2) != accuracy_checksum(table(a=2, b=1), 2)
    assert accuracy_checksum(table(a=1, b=2), 2) != accuracy_checksum(table(a=1, c=2), 2)
    assert accuracy_checksum(table(a=1), 1) == hashlib.sha256(b"arch,cifar10\na,1.0\n").hexdigest()


def test_an_original_is_recognised_by_its_own_checksum(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_bytes(b"content")
    known = dataclasses.replace(
        SOURCES["nasbench101"], originals=(f"md5:{hashlib.md5(b'content').hexdigest()}",)
    )
    assert verify(known, original, table(a=1)) == "The file is the published one."
    with pytest.raises(NASError, match="damaged, incomplete or of another version"):
        verify(SOURCES["nasbench101"], original, table(a=1))
    assert "No checksum is published" in verify(SOURCES["nds-resnet"], original, table(a=1))
