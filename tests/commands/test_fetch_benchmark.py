import dataclasses
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any, get_args

import jsonargparse
import pytest
import torch
from toy_space import Toy

from lightning_nas import spaces
from lightning_nas.commands import fetch_benchmark
from lightning_nas.commands.fetch_benchmark import CONVERTERS, Name
from lightning_nas.errors import NASError
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.ranking.converters import SOURCES, accuracy_checksum, nasbench201

PUBLISHED = {
    "nasbench201": ("nasbench201.csv", 15625, "cifar10 94.37 %, cifar100 73.51 %, imagenet16_120 47.31 %"),
    "nasbench-macro": ("nasbench_macro.csv", 6561, "cifar10 93.13 %"),
    "pooling": ("pooling_resnet20.csv", 36, "cifar10 92.01 %"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lightning_nas" / "benchmarks"


def test_every_name_has_a_source_and_a_converter() -> None:
    assert list(get_args(Name)) == list(SOURCES) == list(CONVERTERS)


@pytest.mark.parametrize("name", SOURCES)
def test_without_a_source_it_says_what_to_do(
    name: Any, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_benchmark(name)
    printed = capsys.readouterr().out
    for fact in (SOURCES[name].url, SOURCES[name].files, SOURCES[name].licence, str(cache / f"{name}.csv")):
        assert fact in printed
    assert f"lightning-nas fetch-benchmark {name} --source FILE_OR_FOLDER" in printed
    assert not cache.exists()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables(
    name: Any, cache: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, size, best = PUBLISHED[name]
    source = data_root / "benchmarks" / file
    fetch_benchmark(name, source)
    fetch_benchmark(name, source, tmp_path / "own.csv")
    fetch_benchmark(name, source)
    printed = capsys.readouterr().out
    for target in (cache / f"{name}.csv", tmp_path / "own.csv"):
        assert (
            f"{target}: {size} architectures, best {best}. The accuracies are the published ones.\n"
            in printed
        )
        table, original = TabularBenchmark.read(target), TabularBenchmark.read(source)
        assert dataclasses.replace(table, path=source) == original


def test_published_lists_give_the_published_table(data_root: Path, tmp_path: Path) -> None:
    table = TabularBenchmark.read(data_root / "benchmarks" / "nasbench201.csv")
    for dataset, file in nasbench201.LISTS.items():
        column = table.column(dataset)
        values = [column[arch] for arch in nasbench201.all_archs()]
        (tmp_path / file).write_bytes(pickle.dumps(values))
    fetch_benchmark("nasbench201", tmp_path, tmp_path / "lists.csv")
    assert TabularBenchmark.read(tmp_path / "lists.csv").accuracies == table.accuracies


@pytest.mark.slow
def test_the_official_form_of_nasbench201_gives_the_published_table(data_root: Path, tmp_path: Path) -> None:
    table = TabularBenchmark.read(data_root / "benchmarks" / "nasbench201.csv")
    # Two seeds whose mean is the published accuracy only after it is rounded.
    infos = {}
    for index, arch in enumerate(table.archs):
        results = {}
        for dataset, (name, split) in nasbench201.TEST_SPLITS.items():
            accuracy = table.column(dataset)[arch]
            for seed, shift in ((777, -0.012), (888, 0.016)):
                value = min(max(accuracy + shift, 0), 100)
                results[name, seed] = {"eval_acc1es": {f"{split}@199": value}}
        seeds = {name: [777, 888] for name, _ in nasbench201.TEST_SPLITS.values()}
        infos[index] = {"full": {"arch_str": arch, "all_results": results, "dataset_seed": seeds}}
    torch.save({"arch2infos": infos}, tmp_path / "api.pth")
    fetch_benchmark("nasbench201", tmp_path / "api.pth", tmp_path / "api.csv")
    assert TabularBenchmark.read(tmp_path / "api.csv").deviations.keys() == nasbench201.TEST_SPLITS.keys()


def test_the_official_form_of_macro_gives_the_published_table(data_root: Path, tmp_path: Path) -> None:
    table = TabularBenchmark.read(data_root / "benchmarks" / "nasbench_macro.csv")
    content = {
        arch: {
            "test_acc": [mean - 0.25, mean, mean + 0.25],
            "mean_acc": mean,
            "std": 0.2,
            "params": 1,
            "flops": 2,
        }
        for arch, mean in table.column().items()
    }
    source = tmp_path / "nas-bench-macro_cifar10.json"
    source.write_text(json.dumps(content))
    fetch_benchmark("nasbench-macro", source, tmp_path / "macro.csv")
    assert TabularBenchmark.read(tmp_path / "macro.csv").accuracies == table.accuracies


def pooling_table(file: Path, best: float = 90.0) -> Path:
    rows = [
        f"{first}-{second}-{10 - first - second},{best - first}"
        for first in range(1, 9)
        for second in range(1, 10 - first)
    ]
    file.write_text("\n".join(["arch,cifar10", *rows]))
    return file


def test_other_accuracies_are_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(NASError, match=r"table\.csv is not Pooling on ResNet-20 .* its checksum is another"):
        fetch_benchmark("pooling", pooling_table(tmp_path / "table.csv"))
    assert not cache.exists()


def test_checksum_does_not_depend_on_the_form(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("arch,b,a,a_std\nx,1,2,0.1\ny,3,4.00004,0.1\n")
    two.write_text("arch,a,b,params\ny,4,3.0,5\nx,2,1,6\n")
    tables = [TabularBenchmark.read(file) for file in (one, two)]
    expected = hashlib.sha256(b"arch,a,b\nx,2.0000,1.0000\ny,4.0000,3.0000\n").hexdigest()
    assert [accuracy_checksum(table, 4) for table in tables] == [expected, expected]
    assert accuracy_checksum(tables[0], 5) != accuracy_checksum(tables[1], 5)


def known(monkeypatch: pytest.MonkeyPatch, name: str, **facts: Any) -> None:
    nothing: dict[str, Any] = {"originals": (), "accuracies": None}
    monkeypatch.setitem(SOURCES, name, dataclasses.replace(SOURCES[name], **(nothing | facts)))


def test_a_file_with_the_published_checksum_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = pooling_table(tmp_path / "table.csv")
    for algorithm in ("sha256", "md5"):
        digest = hashlib.new(algorithm, source.read_bytes()).hexdigest()
        known(monkeypatch, "pooling", accuracies="0" * 64, originals=("sha256:00", f"{algorithm}:{digest}"))
        fetch_benchmark("pooling", source)
        assert (
            "36 architectures, best cifar10 89.00 %. The file is the published one."
            in capsys.readouterr().out
        )
    known(monkeypatch, "pooling", originals=("sha256:00",))
    with pytest.raises(NASError, match="its checksum is another"):
        fetch_benchmark("pooling", source)


def test_another_table_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    known(monkeypatch, "pooling")
    fetch_benchmark("pooling", pooling_table(tmp_path / "table.csv"))
    before = (cache / "pooling.csv").read_bytes()
    other = pooling_table(tmp_path / "other.csv", best=91.0)
    with pytest.raises(
        NASError, match=r"pooling\.csv already holds another table; remove it, or give another file"
    ):
        fetch_benchmark("pooling", other)
    assert (cache / "pooling.csv").read_bytes() == before
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(NASError, match=r"note\.txt"):
        fetch_benchmark("pooling", other, tmp_path / "note.txt")
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_arguments_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, "pooling")
    source = pooling_table(tmp_path / "table.csv")
    arguments = ["pooling", "--source", str(source), "--out", str(tmp_path / "out.csv")]
    jsonargparse.auto_cli(fetch_benchmark, args=arguments)
    assert len(TabularBenchmark.read(tmp_path / "out.csv").archs) == 36


def nds_file(file: Path, *depths: int) -> Path:
    jobs = [
        {"net": {"ds": [1, depth, 1, 1], "ws": [16, 16, 16, 16]}, "min_test_top1": depth} for depth in depths
    ]
    file.write_text(json.dumps(jobs))
    return file


@pytest.mark.skipif(not hasattr(spaces, "NDSResNet"), reason="the space is not there yet")
def test_rows_must_be_architectures_of_the_space(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_benchmark("nds-resnet", nds_file(tmp_path / "ResNet.json", 1, 24))
    assert "2 architectures, best cifar10 99.00 %. No checksum is published" in capsys.readouterr().out
    assert TabularBenchmark.read(cache / "nds-resnet.csv").archs == ("d1-1-1_w16-16-16", "d24-1-1_w16-16-16")
    with pytest.raises(NASError, match=r"ResNet\.json: architecture 'd5-1-1_w16-16-16' has"):
        fetch_benchmark("nds-resnet", nds_file(tmp_path / "ResNet.json", 5))


def test_rows_of_a_space_are_named_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "NDSResNet", lambda: Toy(layers=30), raising=False)
    with pytest.raises(
        NASError, match=r"ResNet\.json: architecture 'd1-1-1_w16-16-16' is not in the toy space"
    ):
        fetch_benchmark("nds-resnet", nds_file(tmp_path / "ResNet.json", 1))
