import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_space import Toy

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TableRow, TabularBenchmark, write_table
from lightning_nas.spaces import ListedSpace, RestrictedSpace, SearchSpace

TABLE = """arch,cifar10,cifar10_std,cifar100,params,macs
00110021,93.5,0.1,70.25,1000,20000
00000000,10,0,1,500,10000.0
"""
ARCHS = ("00110021", "00000000")


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_read(tmp_path: Path) -> None:
    path = table(tmp_path, TABLE)
    benchmark = TabularBenchmark.read(str(path))
    assert benchmark.path == path
    assert benchmark.archs == ARCHS
    assert benchmark.datasets == ("cifar10", "cifar100")
    assert benchmark.column("cifar10") == {"00110021": 93.5, "00000000": 10.0}
    assert benchmark.column("cifar100") == {"00110021": 70.25, "00000000": 1.0}
    assert benchmark.costs == {
        "params": {"00110021": 1000, "00000000": 500},
        "macs": {"00110021": 20000, "00000000": 10000},
    }


def test_read_forgives_what_spreadsheets_do(tmp_path: Path) -> None:
    path = table(tmp_path, '\ufeff"arch", cifar10\r\n"0,1",90\r\n\r\n')
    assert TabularBenchmark.read(path).column() == {"0,1": 90.0}


def test_column_is_a_copy(tmp_path: Path) -> None:
    benchmark = TabularBenchmark.read(table(tmp_path, TABLE))
    benchmark.column("cifar10").clear()
    assert len(benchmark.column("cifar10")) == 2


def test_column_names_the_choice(tmp_path: Path) -> None:
    benchmark = TabularBenchmark.read(table(tmp_path, TABLE))
    with pytest.raises(NASError, match="several datasets, so one must be named: cifar10, cifar100"):
        benchmark.column()
    with pytest.raises(NASError, match="no dataset 'svhn'; it has: cifar10, cifar100"):
        benchmark.column("svhn")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("arch,cifar10\n", "is empty"),
        ("name,cifar10\na,90\n", "has the columns name, cifar10, but needs one named arch"),
        ("arch;cifar10\na;90\n", "has the columns arch;cifar10, but needs one named arch"),
        (
            "arch,cifar10,origin\na,90,here\nb,91,there\n",
            "'origin', which is neither .* its first value is 'here'",
        ),
        ("arch,cifar10,cifar100_std\na,90,0.1\n", "column 'cifar100_std', but no dataset 'cifar100'"),
        ("arch,cifar10,params_std,params\na,90,0.1,3\n", "column 'params_std', but no dataset 'params'"),
        ("arch,cifar10,cifar10\na,90,91\n", "column 'cifar10' more than once"),
        ("arch,cifar10\na,90\nb,91\na,92\n", "line 4 repeats architecture 'a' of line 2"),
        ("arch,cifar10\na,90\n,91\n", "line 3 names no architecture"),
        ("arch,cifar10\na,90\nb\n", "line 3 has 1 cells, but the header has 2"),
        ("arch,cifar10\na,90,91\n", "line 2 has 3 cells, but the header has 2"),
        (
            "arch,cifar10\na,90\nb,good\n",
            r"line 3 has 'good' in column 'cifar10', .* from 0 to 100 \(percent\)",
        ),
        ("arch,cifar10\na,90\nb,\n", "line 3 has '' in column 'cifar10'"),
        ("arch,cifar10\na,90\nb,nan\n", "line 3 has 'nan' in column 'cifar10'"),
        ("arch,cifar10\na,90\nb,inf\n", "line 3 has 'inf' in column 'cifar10'"),
        ("arch,cifar10\na,100.5\n", "line 2 has '100.5' in column 'cifar10'"),
        ("arch,cifar10\na,-1\n", "line 2 has '-1' in column 'cifar10'"),
        (
            "arch,cifar10,params\na,90,1.5\n",
            "line 2 has '1.5' in column 'params', but it must be a whole number",
        ),
        ("arch,cifar10,flops\na,90,-3\n", "line 2 has '-3' in column 'flops'"),
        ("arch,cifar10,macs\na,90,inf\n", "line 2 has 'inf' in column 'macs'"),
        ("arch,params,macs\na,1,2\n", "has no dataset"),
    ],
)
def test_refused_with_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(NASError, match=message) as caught:
        TabularBenchmark.read(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"nowhere\.csv does not exist"):
        TabularBenchmark.read(tmp_path / "nowhere.csv")
    with pytest.raises(NASError, match="cannot be read as a CSV file"):
        TabularBenchmark.read(tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(NASError, match="cannot be read as a CSV file"):
        TabularBenchmark.read(tmp_path / "binary.csv")


def test_check_accepts_the_space_it_was_made_for(tmp_path: Path) -> None:
    benchmark = TabularBenchmark.read(table(tmp_path, TABLE))
    benchmark.check(reversed(ARCHS))
    benchmark.check(iter(ARCHS), {"00110021": (1000, 20000), "00000000": (500, 10000)})


def test_check_refuses_other_spaces(tmp_path: Path) -> None:
    benchmark = TabularBenchmark.read(table(tmp_path, TABLE))
    with pytest.raises(NASError, match=r"lacks 1 architecture \('1'\) of the 3 in the search space"):
        benchmark.check([*ARCHS, "1"])
    with pytest.raises(NASError, match=r"lacks 4 architectures \('1', '2', '3', \.\.\.\) of the 6"):
        benchmark.check([*ARCHS, "1", "2", "3", "4"])
    with pytest.raises(
        NASError,
        match=r"holds 1 architecture \('00000000'\) that the search space does not have, the first in line 3;",
    ):
        benchmark.check(ARCHS[:1])


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (
            (1001, 20000),
            r"table.csv line 2 gives params 1000 for architecture '00110021', but the search space 1001",
        ),
        ((1000, 5000), "gives macs 20000 for architecture '00110021', but the search space 5000"),
    ],
)
def test_check_refuses_other_costs(tmp_path: Path, cost: tuple[int, int], message: str) -> None:
    benchmark = TabularBenchmark.read(table(tmp_path, TABLE))
    with pytest.raises(NASError, match=message):
        benchmark.check(ARCHS, {"00110021": cost})


def test_check_compares_costs_only_where_both_are_in_the_table(tmp_path: Path) -> None:
    benchmark = TabularBenchmark.read(table(tmp_path, "arch,cifar10,params,flops\na,90,5,6\n"))
    assert benchmark.costs == {"params": {"a": 5}, "flops": {"a": 6}}
    benchmark.check(["a"], {"a": (1, 1)})


def toy_table(folder: Path, space: SearchSpace, wrong: str = "", extra: str = "") -> TabularBenchmark:
    """All texts of the toy space but those that begin with ``wrong``, whose accuracy is their position."""
    lines = ["arch,cifar10,params,macs"]
    for number, path in enumerate(space):
        arch, cost = space.encode(path), space.cost(path)
        if not (wrong and arch.startswith(wrong)):
            lines.append(f"{arch},{number},{cost.params},{cost.macs}")
    return TabularBenchmark.read(table(folder, "\n".join([*lines, extra]) + "\n"))


TOY = Toy(layers=2)
WITHOUT_ONES = RestrictedSpace(TOY, ((0, 2), (0, 2)))


def test_paths_of_a_space_and_of_its_parts(tmp_path: Path) -> None:
    benchmark = toy_table(tmp_path, TOY)
    assert benchmark.paths(TOY) == {path: TOY.encode(path) for path in TOY}
    assert benchmark.paths(WITHOUT_ONES) == {(0, 0): "00", (0, 2): "02", (2, 0): "20", (2, 2): "22"}
    assert benchmark.paths(ListedSpace(WITHOUT_ONES, ((2, 0),))) == {(2, 0): "20"}


def test_a_table_must_hold_every_path_of_the_part_only(tmp_path: Path) -> None:
    benchmark = toy_table(tmp_path, TOY, wrong="1")
    assert len(benchmark.paths(WITHOUT_ONES)) == 4
    with pytest.raises(
        NASError, match=r"lacks 3 architectures \('10', '11', '12'\) of the 9 in the search space"
    ):
        benchmark.paths(TOY)
    with pytest.raises(NASError, match=r"lacks 1 architecture \('12'\) of the 2"):
        benchmark.paths(ListedSpace(TOY, ((1, 2), (0, 0))))


@pytest.mark.parametrize("space", [TOY, WITHOUT_ONES])
def test_rows_that_are_in_no_part_are_refused_with_their_line(tmp_path: Path, space: SearchSpace) -> None:
    benchmark = toy_table(tmp_path, TOY, extra="03,1,2,3")
    with pytest.raises(NASError, match=r"table\.csv line 11: architecture '03' is not in the toy space"):
        benchmark.paths(space)


def test_costs_of_rows_outside_of_the_part_are_compared_too(tmp_path: Path) -> None:
    cost = TOY.cost((1, 1))
    benchmark = toy_table(tmp_path, TOY, wrong="11", extra=f"11,1,{cost.params + 1},{cost.macs}")
    with pytest.raises(
        NASError,
        match=rf"line 10 gives params {cost.params + 1} for architecture '11', but .* {cost.params};",
    ):
        benchmark.paths(WITHOUT_ONES)


def test_of_a_large_space_a_table_holds_some(tmp_path: Path) -> None:
    space = Toy(layers=30)
    first, second = "0" * 30, "1" * 30
    text = f"arch,cifar10\n{first},1\n{second},2\n"
    benchmark = TabularBenchmark.read(table(tmp_path, text))
    assert benchmark.paths(space) == {(0,) * 30: first, (1,) * 30: second}
    part = RestrictedSpace(space, ((0, 1),) * 30)
    assert benchmark.paths(part) == benchmark.paths(space)
    assert benchmark.paths(RestrictedSpace(space, ((1, 2),) * 30)) == {(1,) * 30: second}
    with pytest.raises(NASError, match=r"has no architecture of the search space"):
        benchmark.paths(RestrictedSpace(space, ((2,), *((0, 1, 2),) * 29)))
    with pytest.raises(NASError, match=r"table\.csv line 4: architecture '012' is not in the toy space"):
        TabularBenchmark.read(table(tmp_path, text + "012,3\n")).paths(space)


class Spelled(Toy):
    """Accepts blanks in its texts."""

    def decode(self, text: str) -> tuple[int, ...]:
        return super().decode(text.replace(" ", ""))


def test_two_spellings_of_an_architecture_are_refused(tmp_path: Path) -> None:
    benchmark = TabularBenchmark.read(table(tmp_path, "arch,cifar10\n0,1\n1,1\n 2,1\n"))
    assert len(benchmark.paths(Spelled(layers=1))) == 3
    benchmark = TabularBenchmark.read(table(tmp_path, "arch,cifar10\n01,1\n0 1,1\n"))
    with pytest.raises(
        NASError, match=r"table\.csv line 3 holds '0 1', the architecture of .*table\.csv line 2"
    ):
        benchmark.paths(Spelled(layers=2))


def test_what_is_written_is_what_was_read(tmp_path: Path) -> None:
    benchmark = TabularBenchmark.read(table(tmp_path, TABLE))
    assert benchmark.deviations == {"cifar10": {"00110021": 0.1, "00000000": 0.0}}
    assert benchmark.lines == {"00110021": 2, "00000000": 3}
    copy = tmp_path / "folder" / "copy.csv"
    benchmark.write(copy)
    assert dataclasses.replace(TabularBenchmark.read(copy), path=benchmark.path) == benchmark
    assert copy.read_text(encoding="utf-8").splitlines()[:2] == [
        '"arch","cifar10","cifar10_std","cifar100","params","macs"',
        '"00110021",93.5,0.1,70.25,1000,20000',
    ]


def test_written_table_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "truth.csv"
    rows = [TableRow("00110021", 91.123456789, 0.25, 1000, 20000), TableRow("1e5", 1 / 3, 0.0, 500, 10000)]
    write_table(path, "digits", rows)
    benchmark = TabularBenchmark.read(path)
    assert benchmark.datasets == ("digits",)
    assert benchmark.column() == {"00110021": 91.123456789, "1e5": 1 / 3}
    benchmark.check(["1e5", "00110021"], {"00110021": (1000, 20000), "1e5": (500, 10000)})
    assert path.read_text(encoding="utf-8").splitlines()[:2] == [
        '"arch","digits","digits_std","params","macs"',
        '"00110021",91.123456789,0.25,1000,20000',
    ]
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file, quoting=csv.QUOTE_NONNUMERIC))[1] == list(rows[0])


def test_table_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("before", encoding="utf-8")

    def interrupted() -> Iterator[TableRow]:
        yield TableRow("00110021", 91.0, 0.25, 1000, 20000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_table(path, "digits", interrupted())
    assert [file.name for file in tmp_path.iterdir()] == ["truth.csv"]
    assert path.read_text(encoding="utf-8") == "before"


@pytest.mark.parametrize(
    ("name", "size", "datasets", "best"),
    [
        ("pooling_resnet20", 36, ("cifar10",), ("7-1-2", 92.0117)),
        ("nasbench_macro", 6561, ("cifar10",), ("22212202", 93.1267)),
        ("nasbench201", 15625, ("cifar10", "cifar100", "imagenet16_120"), (None, 94.37)),
    ],
)
def test_published_tables(
    data_root: Path, name: str, size: int, datasets: tuple[str, ...], best: tuple[str | None, float]
) -> None:
    benchmark = TabularBenchmark.read(data_root / "benchmarks" / f"{name}.csv")
    assert len(benchmark.archs) == size
    assert benchmark.datasets == datasets
    column = benchmark.column("cifar10")
    arch, accuracy = best
    assert max(column.values()) == pytest.approx(accuracy, abs=5e-3)
    assert arch is None or column[arch] == max(column.values())
