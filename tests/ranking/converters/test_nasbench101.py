import base64
import itertools
import json
import struct
from pathlib import Path

import pytest

from lightning_nas.errors import NASError
from lightning_nas.ranking.converters import nasbench101
from lightning_nas.ranking.converters.nasbench101 import Matrix

# Two inner vertices between input and output, side by side; and one after the other.
SIDE_BY_SIDE = "0110" + "0001" + "0001" + "0000"
CHAIN = "0100" + "0010" + "0001" + "0000"
OPERATIONS = "input,conv3x3-bn-relu,maxpool3x3,output"


def varint(number: int) -> bytes:
    head, rest = number & 0x7F, number >> 7
    return bytes([head | 0x80]) + varint(rest) if rest else bytes([head])


def message(*fields: tuple[int, float | int | bytes]) -> bytes:
    """A protocol buffer: floats are doubles, bytes have their length in front."""
    parts = []
    for field, value in fields:
        kind = {float: 1, int: 0, bytes: 2}[type(value)]
        parts.append(varint(field << 3 | kind))
        if isinstance(value, float):
            parts.append(struct.pack("<d", value))
        elif isinstance(value, int):
            parts.append(varint(value))
        else:
            parts.append(varint(len(value)) + value)
    return b"".join(parts)


def evaluation(test: float) -> bytes:
    return message((1, 108.0), (2, 1000.5), (3, 0.99), (4, 0.9), (5, test), (6, b"model.ckpt-1"))


def metrics(test: float) -> bytes:
    return message(
        (1, evaluation(0.1)), (1, evaluation(0.5)), (1, evaluation(test)), (2, 8_555_530), (3, 2.5)
    )


def row(name: str, adjacency: str, test: float, epochs: int = 108, operations: str = OPERATIONS) -> bytes:
    encoded = base64.b64encode(metrics(test)).decode()
    return json.dumps([name, epochs, adjacency, operations, encoded]).encode()


def record(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", nasbench101.masked_crc32c(part)) for part in (head, data)]
    return head + checksums[0] + data + checksums[1]


def write(folder: Path, *rows: bytes) -> Path:
    file = folder / "nasbench_only108.tfrecord"
    file.write_bytes(b"".join(map(record, rows)))
    return file


def letters(matrix: Matrix, operations: tuple[str, ...]) -> str | None:
    """All cells whose first two vertices are joined."""
    return "-".join(operation[0] for operation in operations) if matrix[0][1] else None


def unmasked(checksum: int) -> int:
    rotated = (checksum - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        # RFC 3720, B.4.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_checksums(data: bytes, checksum: int) -> None:
    assert unmasked(nasbench101.masked_crc32c(data)) == checksum


def test_an_empty_record_is_as_tensorflow_writes_it() -> None:
    assert record(b"") == bytes.fromhex("0000000000000000 29039807 d8ea82a2")


def test_orders_of_a_cell() -> None:
    names = ("input", "a", "b", "c", "output")
    edges = {("input", "a"), ("input", "b"), ("a", "c"), ("b", "output"), ("c", "output")}
    matrix = tuple(tuple(int((one, other) in edges) for other in names) for one in names)
    found = {operations: ordered for ordered, operations in nasbench101.orders(matrix, names)}
    expected = [
        ("input", *inner, "output")
        for inner in itertools.permutations("abc")
        if inner.index("a") < inner.index("c")
    ]
    assert sorted(found) == sorted(expected)
    for operations, ordered in found.items():
        joined = {(operations[i], operations[j]) for i in range(5) for j in range(5) if ordered[i][j]}
        assert joined == edges


def test_accuracies_are_averaged_over_repeats(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        row("one", CHAIN, 0.93),
        row("two", SIDE_BY_SIDE, 0.5, operations="input,conv1x1-bn-relu,conv1x1-bn-relu,output"),
        row("one", CHAIN, 0.94),
        row("one", CHAIN, 0.2, epochs=36),
        row("one", CHAIN, 0.95),
    )
    table = nasbench101.convert(file, letters)
    assert table.column() == {"i-c-m-o": 94.0, "i-c-c-o": 50.0}
    assert table.deviations["cifar10"] == {"i-c-m-o": 0.8165, "i-c-c-o": 0.0}


def test_all_orders_of_a_cell_that_the_space_has(tmp_path: Path) -> None:
    table = nasbench101.convert(write(tmp_path, row("one", SIDE_BY_SIDE, 0.5)), letters)
    assert table.column() == {"i-c-m-o": 50.0, "i-m-c-o": 50.0}


def test_cells_that_the_space_has_not_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(nasbench101, "rank_zero_info", said.append)
    direct = "0001" + "0000" * 3
    file = write(tmp_path, row("one", CHAIN, 0.5), row("two", direct, 0.6), row("three", direct, 0.7))
    assert nasbench101.convert(file, letters).archs == ("i-c-m-o",)
    assert said == ["2 of 3 cells are not in the space and left out."]
    with pytest.raises(NASError, match="holds no architecture"):
        nasbench101.convert(write(tmp_path, row("two", direct, 0.6)), letters)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no json", "record 1 is not of the form of NAS-Bench-101"),
        (b'["one", 108]', "record 1 is not of the form"),
        (json.dumps(["x", 108, CHAIN, OPERATIONS, "%%%"]).encode(), "record 1 is not of the form"),
        (json.dumps(["x", 108, CHAIN, OPERATIONS, ""]).encode(), "record 1 .* has 0 evaluations, not 3"),
        (row("x", "010", 0.5), "record 1 .* is no square of zeros and ones"),
        (row("x", "0100" * 4, 0.5), "record 1 has an edge that does not point forward"),
        (
            row("x", CHAIN, 0.5, operations="input,conv3x3-bn-relu,output"),
            "record 1 has the operations .* its 4 vertices",
        ),
        (row("x", CHAIN, 0.5, operations="input,a,b,output"), "record 1 has the operations input,a,b,output"),
        (row("x", CHAIN, 0.5, operations=OPERATIONS[6:] + ",output"), "record 1 has the operations"),
        (row("x", CHAIN, 1.5), "record 1 gives the accuracy 150.0"),
        (row("x", CHAIN, 0.5), "cell x and another one are both 'i-c-m-o'"),
    ],
)
def test_records_of_another_form_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(NASError, match=message):
        nasbench101.convert(write(tmp_path, row("one", CHAIN, 0.5), data), letters)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, row("one", CHAIN, 0.5), row("two", SIDE_BY_SIDE, 0.5))
    whole = file.read_bytes()
    for position, message in ((2, "a length has a wrong checksum"), (40, "a record has a wrong checksum")):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(NASError, match=f"is damaged: {message}"):
            nasbench101.convert(file, letters)
    for end in (5, 100, len(whole) - 2):
        file.write_bytes(whole[:end])
        with pytest.raises(NASError, match="is cut short"):
            nasbench101.convert(file, letters)
    file.write_bytes(b"")
    with pytest.raises(NASError, match="has no networks trained for 108 epochs"):
        nasbench101.convert(file, letters)
    with pytest.raises(NASError, match="cannot be read"):
        nasbench101.convert(tmp_path / "nowhere.tfrecord", letters)


@pytest.mark.parametrize(
    "damaged",
    [
        metrics(0.5)[:-20],
        message((1, evaluation(0.1)), (1, evaluation(0.5))),
        message((1, evaluation(0.1)), (1, evaluation(0.5)), (1, message((4, 0.9)))),
        message((1, evaluation(0.1)), (1, evaluation(0.5)), (1, message((5, 9)))),
        metrics(0.5) + bytes([7]),
        metrics(0.5) + bytes([0x80]),
    ],
)
def test_damaged_messages_are_refused(damaged: bytes) -> None:
    assert nasbench101.final_test_accuracy(metrics(0.5)) == 0.5
    with pytest.raises((ValueError, IndexError)):
        nasbench101.final_test_accuracy(damaged)
