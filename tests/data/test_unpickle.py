import contextlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from published_data import python2_pickle

from lightning_nas.data.unpickle import unpickle
from lightning_nas.errors import NASError

CONTENT = {
    "images": np.arange(24, dtype=np.uint8).reshape(4, 6),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "wide": np.arange(3, dtype=">i4"),
    "flag": np.array(True),
    "numbers": [np.float64(0.5), np.int64(-3), np.bool_(True)],
    "plain": {"list": [1, 2.5, None, True], "tuple": ("a", b"\xff\x00"), 7: "é"},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "batch"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("core", ["core", "_core"])
def test_arrays_and_plain_types_are_read(file: Path, protocol: int, core: str) -> None:
    written = pickle.dumps(CONTENT, protocol)
    if protocol < 4:  # numpy 1 and numpy 2 spell their modules differently
        written = written.replace(b"numpy._core", f"numpy.{core}".encode())
    file.write_bytes(written)
    found = unpickle(file)
    assert found.keys() == CONTENT.keys()
    for name in ("images", "columns", "wide", "flag"):
        expected = CONTENT[name]
        assert isinstance(expected, np.ndarray)
        assert found[name].dtype == expected.dtype.newbyteorder("=")  # numpy itself reads in the own order
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].shape == expected.shape
    assert found["numbers"] == CONTENT["numbers"]
    assert [type(number) for number in found["numbers"]] == [np.float64, np.int64, np.bool_]
    assert found["plain"] == CONTENT["plain"]


def test_pickles_of_python_2_are_read(file: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 64)
    file.write_bytes(python2_pickle({"label": "a batch", "labels": [3, -1], "data": pixels}))
    found = unpickle(file)
    assert (found["label"], found["labels"]) == ("a batch", [3, -1])
    assert found["data"].dtype == np.uint8
    np.testing.assert_array_equal(found["data"], pixels)
    # The same as from Python's own reader.
    np.testing.assert_array_equal(pickle.loads(file.read_bytes(), encoding="latin1")["data"], pixels)


# ------------------------------------------------------------------------------------------- what must not be run


RECONSTRUCT, SCALAR = (
    cast(Callable[..., Any], value.__reduce__()[0]) for value in (np.zeros(0), np.float64(0))
)


class Call:
    """Pickled as a call of a function, which an ordinary reader makes."""

    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


class State:
    """Pickled as a call whose result is then given a state."""

    def __init__(self, function: Callable[..., Any], args: tuple[object, ...], state: object) -> None:
        self.parts = function, args, state

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...], object]:
        return self.parts


def attacks(mark: Path) -> dict[str, object]:
    """Contents that make an ordinary reader run a command, which makes a folder."""
    call = Call(os.system, f"mkdir {mark}")
    return {
        "bare": call,
        "among labels": {"data": np.zeros(3, np.uint8), "labels": [1, 2, call]},
        "as a key": {Call(os.system, f"mkdir {mark}"): 1},
        "in an object array": {"data": np.array([[call]], dtype=object)},
        "in a structured array": np.array([(1, call)], dtype=[("a", "i4"), ("b", "O")]),
        "in the type of an array": State(np.dtype, ("u1",), (3, "|", None, None, None, -1, -1, call)),
        "as the shape of an array": Call(RECONSTRUCT, np.ndarray, call, b"b"),
        "by another name": Call(eval, f"__import__('os').mkdir({str(mark)!r})"),
    }


@pytest.mark.parametrize("name", attacks(Path("mark")))
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_run(tmp_path: Path, file: Path, name: str, protocol: int) -> None:
    mark = tmp_path / "mark"
    written = pickle.dumps(attacks(mark)[name], protocol)
    file.write_bytes(written)
    with pytest.raises(NASError, match=r"batch cannot be read: it (names|holds) \S+") as caught:
        unpickle(file)
    assert "only" in str(caught.value)
    assert not mark.exists()
    # The command runs before an ordinary reader stumbles over its result, if it does.
    with contextlib.suppress(Exception):
        pickle.loads(written)
    assert mark.exists()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"(Vmkdir mark\nios\nsystem\n.", r"it names os\.system, but only arrays of numbers and plain types"),
        (b"(cos\nsystem\nVmkdir mark\no.", r"it names os\.system"),
        (b"cos\nsystem\n(Vmkdir mark\ntR.", r"it names os\.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", r"it names numpy\.ndarray\.tofile"),
        (b"cnumpy.core.multiarray\nfromfile\n.", r"it names numpy\.core\.multiarray\.fromfile"),
        (b"c_codecs\ndecode\n.", r"it names _codecs\.decode"),
        (b"Pnumber\n.", "persistent"),
    ],
)
def test_whatever_names_a_function_is_refused(file: Path, written: bytes, message: str) -> None:
    file.write_bytes(written)
    with pytest.raises(NASError, match=message):
        unpickle(file)


def array(code: str, dtype_state: tuple[Any, ...], shape: tuple[int, ...], content: object) -> State:
    """Pickled as an array of any description."""
    dtype = State(np.dtype, (code, False, True), dtype_state)
    return State(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, shape, dtype, False, content))


NUMBERS = (3, "|", None, None, None, -1, -1, 0)
POINTER = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)
ADDRESS = b"\x41" * 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # With flags that deny that there are objects, numpy itself takes the bytes for addresses of objects.
        (
            array("O8", NUMBERS, (1,), ADDRESS),
            "it holds numpy values of type 'O8', but only numbers are read",
        ),
        (array("V8", POINTER, (1,), ADDRESS), "it holds numpy values of type 'V8'"),
        (Call(SCALAR, np.dtype("O"), ADDRESS), "it holds numpy values of type 'O8'"),
        (array("u1", NUMBERS, (1000,), ADDRESS), "buffer size does not match array size"),
        (array("u1", NUMBERS, (-1, -8), ADDRESS), "impossible dimension"),
        (array("u1", NUMBERS, (8,), [7] * 8), "batch cannot be read: "),
        (Call(SCALAR, np.dtype("f8"), b"1234"), "batch cannot be read: "),
    ],
)
def test_memory_is_what_the_file_holds(file: Path, content: object, message: str) -> None:
    file.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(NASError, match=message):
        unpickle(file)


@pytest.mark.parametrize("name", ["numpy\ndtype", "numpy\nndarray", "numpy.core.multiarray\n_reconstruct"])
def test_a_file_does_not_change_the_reader(file: Path, name: str) -> None:
    # A state for the class itself: attributes to set.
    file.write_bytes(f"c{name}\n(N}}V__new__\nI7\nstb.".encode())
    with pytest.raises(NASError, match="batch cannot be read"):
        unpickle(file)
    file.write_bytes(pickle.dumps(np.arange(3)))
    assert unpickle(file).tolist() == [0, 1, 2]


# ----------------------------------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_truncated_pickles_are_refused(file: Path, protocol: int) -> None:
    whole = pickle.dumps(CONTENT, protocol)
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(NASError, match=r"batch cannot be read: \S.*\.$"):
            unpickle(file)


def test_other_files_are_refused(tmp_path: Path, file: Path) -> None:
    file.write_bytes(b"no pickle at all")
    with pytest.raises(NASError, match="batch cannot be read: "):
        unpickle(file)
    with pytest.raises(NASError, match=r"nowhere cannot be read: .*No such file"):
        unpickle(tmp_path / "nowhere")
