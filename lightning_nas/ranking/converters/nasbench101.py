"""NAS-Bench-101 (Ying et al., 2019): 423,624 cells on CIFAR-10, for those that a space of cells contains.

The official file is a TFRecord of protocol buffers. Both are read here in a few lines each, because TensorFlow is
a large dependency for them.
"""

import base64
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lightning.pytorch.utilities import rank_zero_info
from tqdm import tqdm

from lightning_nas.errors import NASError
from lightning_nas.ranking.benchmark import TabularBenchmark
from lightning_nas.ranking.converters.reading import averaged, percent, require
from lightning_nas.spaces.nasbench1shot1_graph import OPERATIONS

EPOCHS = 108

Matrix = tuple[tuple[int, ...], ...]
"""``matrix[i][j]`` is 1 where vertex i feeds vertex j; only i < j occur."""

Encode = Callable[[Matrix, tuple[str, ...]], str | None]
"""The text of a cell, given its matrix and the operations of all vertices.

Where the space has the cell with its vertices in this order, that is the one meant. None means that it has the cell
in no order.
"""


class _Cell(NamedTuple):
    matrix: Matrix
    operations: tuple[str, ...]
    accuracies: list[float]


def convert(source: Path, encode: Encode) -> TabularBenchmark:
    """Ground truth from ``nasbench_only108.tfrecord`` or ``nasbench_full.tfrecord``.

    Cells are trained for 108 epochs, usually three times; the accuracy is the mean final test accuracy. The file
    has one cell of every isomorphism class. A space may have several of them, in which the inner vertices are
    ordered otherwise: they are one network and get one accuracy.

    Args:
        source: The file.
        encode: Says which cells the space has, and writes them.

    Raises:
        NASError: The file is damaged or not of this form, or the space has none of its cells.
    """
    cells = _read(source)
    runs: dict[str, list[float]] = {}
    left_out = 0
    for name, cell in tqdm(cells.items(), desc="cells", disable=None):
        if encode(cell.matrix, cell.operations) is None:
            left_out += 1
            continue
        for arch in sorted({str(encode(*ordered)) for ordered in orders(cell.matrix, cell.operations)}):
            require(arch not in runs, f"{source} cell {name} and another one are both {arch!r}.")
            runs[arch] = cell.accuracies
    rank_zero_info(f"{left_out} of {len(cells)} cells are not in the space and left out.")
    return averaged(source, {"cifar10": runs})


def orders(matrix: Matrix, operations: Sequence[str]) -> Iterator[tuple[Matrix, tuple[str, ...]]]:
    """The same cell with its inner vertices in every order in which all edges point forward."""
    last = len(matrix) - 1

    def extended(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(order) == last:
            yield (*order, last)
            return
        for vertex in range(1, last):
            sources = (source for source in range(last) if matrix[source][vertex])
            if vertex not in order and all(source in order for source in sources):
                yield from extended((*order, vertex))

    for order in extended((0,)):
        yield (
            tuple(tuple(matrix[i][j] for j in order) for i in order),
            tuple(operations[vertex] for vertex in order),
        )


def _read(source: Path) -> dict[str, _Cell]:
    """The cells of the file by their hash."""
    cells: dict[str, _Cell] = {}
    for number, record in enumerate(records(source)):
        place = f"{source} record {number}"
        try:
            name, epochs, adjacency, operations, metrics = json.loads(record)
            if epochs != EPOCHS:
                continue
            accuracy = 100 * final_test_accuracy(base64.b64decode(metrics))
            cell = _Cell(_matrix(adjacency), tuple(operations.split(",")), [])
        except (ValueError, TypeError, AttributeError, LookupError, struct.error) as error:
            raise NASError(f"{place} is not of the form of NAS-Bench-101: {error}.") from error
        _check(cell, place)
        cells.setdefault(name, cell).accuracies.append(percent(accuracy, place))
    require(cells, f"{source} has no networks trained for {EPOCHS} epochs.")
    return cells


def _matrix(adjacency: str) -> Matrix:
    size = int(len(adjacency) ** 0.5)
    if size * size != len(adjacency) or set(adjacency) - {"0", "1"}:
        raise ValueError(f"{adjacency!r} is no square of zeros and ones")
    bits = [int(bit) for bit in adjacency]
    return tuple(tuple(bits[row * size : (row + 1) * size]) for row in range(size))


def _check(cell: _Cell, place: str) -> None:
    size = len(cell.matrix)
    forward = not any(cell.matrix[i][j] for i in range(size) for j in range(i + 1))
    require(forward, f"{place} has an edge that does not point forward.")
    first, *inner, last = cell.operations if len(cell.operations) > 1 else ("", "")
    valid = (
        len(cell.operations) == size
        and (first, last) == ("input", "output")
        and set(inner) <= set(OPERATIONS)
    )
    require(
        valid,
        f"{place} has the operations {','.join(cell.operations)}, which do not fit its {size} vertices.",
    )


# ------------------------------------------------------------------------------------------------- TFRecord


def records(source: Path) -> Iterator[bytes]:
    """The records of a TFRecord file.

    A record is its length (8 bytes, little-endian), a checksum of the length, the data, and a checksum of the data
    (TensorFlow, ``record_writer.h``).

    Raises:
        NASError: The file is missing, cut short or damaged.
    """
    try:
        with (
            source.open("rb") as file,
            tqdm(
                total=source.stat().st_size, unit="B", unit_scale=True, desc=source.name, disable=None
            ) as bar,
        ):
            while head := file.read(12):
                length, checksum = struct.unpack("<QI", _whole(head, 12, source))
                require(
                    masked_crc32c(head[:8]) == checksum,
                    f"{source} is damaged: a length has a wrong checksum.",
                )
                data = _payload(file, length, source)
                bar.update(length + 16)
                yield data
    except OSError as error:
        raise NASError(f"{source} cannot be read: {error}.") from error


def _payload(file: BinaryIO, length: int, source: Path) -> bytes:
    data = _whole(file.read(length), length, source)
    [checksum] = struct.unpack("<I", _whole(file.read(4), 4, source))
    require(masked_crc32c(data) == checksum, f"{source} is damaged: a record has a wrong checksum.")
    return data


def _whole(data: bytes, length: int, source: Path) -> bytes:
    require(len(data) == length, f"{source} is cut short; download it again.")
    return data


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord: CRC-32C (Castagnoli), rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _crc32c_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC32C = tuple(_crc32c_of_byte(byte) for byte in range(256))

# ----------------------------------------------------------------------------------------- protocol buffers

EVALUATIONS = 1  # of message ModelMetrics: at the start, half-way and at the end of training
TEST_ACCURACY = 5  # of message EvaluationData: a double, from 0 to 1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def final_test_accuracy(metrics: bytes) -> float:
    """The test accuracy (from 0 to 1) at the end of training, from a serialised ``ModelMetrics``.

    Field numbers are those of ``model_metrics.proto`` of NAS-Bench-101.

    Raises:
        ValueError: The message is damaged or has another form.
    """
    evaluations = [value for field, value in _fields(metrics) if field == EVALUATIONS]
    if len(evaluations) != 3:
        raise ValueError(f"it has {len(evaluations)} evaluations, not 3")
    accuracies = [value for field, value in _fields(evaluations[-1]) if field == TEST_ACCURACY]
    if len(accuracies) != 1 or len(accuracies[0]) != 8:
        raise ValueError("its last evaluation has no test accuracy")
    return float(struct.unpack("<d", accuracies[0])[0])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message: number, and content without its length."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        field, kind = key >> 3, key & 7
        start = position
        if kind == VARINT:
            _, position = _varint(message, position)
        elif kind == BYTES:
            length, start = _varint(message, position)
            position = start + length
        elif kind in (FIXED64, FIXED32):
            position += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"field {field} is of the unknown kind {kind}")
        if position > len(message):
            raise ValueError("a message is cut short")
        yield field, message[start:position]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits per byte, lowest first, and the position behind it."""
    number = shift = 0
    while True:
        byte = message[position]
        number |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return number, position
        shift += 7
