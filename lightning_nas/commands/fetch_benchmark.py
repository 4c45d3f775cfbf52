"""``fetch-benchmark``: a published benchmark as a table of ground truth."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning_nas import spaces
from lightning_nas.data.image_folder import default_cache_dir
from lightning_nas.errors import NASError
from lightning_nas.ranking import TabularBenchmark
from lightning_nas.ranking.converters import (
    SOURCES,
    Source,
    macro,
    nasbench101,
    nasbench201,
    nasbench301,
    nds,
    pooling,
    verify,
)

Name = Literal[
    "nasbench201", "nasbench-macro", "pooling", "nasbench101", "nasbench301", "nds-resnet", "nds-resnext-a"
]


def fetch_benchmark(name: Name, source: Path | None = None, out: Path | None = None) -> None:
    """Converts the original file of a published benchmark into a table for ``ranking.benchmark``.

    Nothing is downloaded: without a source it says where to get the file, and what to do then. The table is
    checked against the published checksum.

    Args:
        name: The benchmark.
        source: The original file or folder.
        out: The CSV file to write; None writes it into the user's cache folder (XDG_CACHE_HOME moves it).

    Raises:
        NASError: The source is damaged, incomplete or another one, or ``out`` already holds another table.
    """
    target = out or default_cache_dir() / "benchmarks" / f"{name}.csv"
    if source is None:
        print(_instructions(name, SOURCES[name], target))
        return
    table = CONVERTERS[name](source)
    verdict = verify(SOURCES[name], source, table)
    _store(table, target)
    best = ", ".join(f"{dataset} {max(table.column(dataset).values()):.2f} %" for dataset in table.datasets)
    print(f"{target}: {len(table.archs)} architectures, best {best}. {verdict}")


def _instructions(name: str, source: Source, target: Path) -> str:
    return "\n".join(
        (
            source.title,
            f"  It holds    {source.holds}",
            f"  Get it at   {source.url}",
            f"  Download    {source.files}",
            f"  Licence     {source.licence}",
            f"  Then run    lightning-nas fetch-benchmark {name} --source FILE_OR_FOLDER",
            f"  It writes   {target}",
        )
    )


def _store(table: TabularBenchmark, target: Path) -> None:
    if target.exists():
        before = TabularBenchmark.read(target)
        if (before.accuracies, before.deviations, before.costs) != (
            table.accuracies,
            table.deviations,
            table.costs,
        ):
            raise NASError(f"{target} already holds another table; remove it, or give another file as out.")
        return
    table.write(target)


def _of_space(space: str, convert: Callable[[Path], TabularBenchmark], source: Path) -> TabularBenchmark:
    """The table, whose rows must all be architectures of the space."""
    table = convert(source)
    table.paths(_space(space))
    return table


def _cells_of_1shot1(source: Path) -> TabularBenchmark:
    space = _space("NASBench1Shot1")

    def encode(matrix: nasbench101.Matrix, operations: tuple[str, ...]) -> str | None:
        try:
            return str(space.encode(space.from_matrix(matrix, operations)))
        except NASError:
            return None

    return nasbench101.convert(source, encode)


def _space(name: str) -> Any:
    return getattr(spaces, name)()


CONVERTERS: dict[str, Callable[[Path], TabularBenchmark]] = {
    "nasbench201": nasbench201.convert,
    "nasbench-macro": macro.convert,
    "pooling": pooling.convert,
    "nasbench101": _cells_of_1shot1,
    "nasbench301": partial(_of_space, "DARTS", nasbench301.convert),
    "nds-resnet": partial(_of_space, "NDSResNet", partial(nds.convert, family="ResNet")),
    "nds-resnext-a": partial(_of_space, "NDSResNeXt", partial(nds.convert, family="ResNeXt-A")),
}
