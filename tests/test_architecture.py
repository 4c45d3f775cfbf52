"""Architectures by name."""

import json
from pathlib import Path

import pytest

from lightning_nas.architecture import named, sketch
from lightning_nas.errors import NASError
from lightning_nas.spaces import NASBench201, Pooling

SPACE = Pooling(channels=(2, 2, 2))


def test_a_text_and_a_result_of_a_search_name_the_same(tmp_path: Path) -> None:
    found = tmp_path / "search.json"
    found.write_text(json.dumps({"best": {"arch": "4-3-3", "score": 50.0}}))
    assert named(SPACE, str(found)) == named(SPACE, "4-3-3") == SPACE.decode("4-3-3")


@pytest.mark.parametrize("text", ["", "[]", '{"best": {}}', '{"best": null}'])
def test_a_file_that_names_none_is_refused(tmp_path: Path, text: str) -> None:
    found = tmp_path / "search.json"
    found.write_text(text)
    with pytest.raises(NASError, match=r"has no best\.arch"):
        named(SPACE, str(found))


def test_a_missing_file_and_a_wrong_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="no such file"):
        named(SPACE, str(tmp_path / "search.json"))
    with pytest.raises(NASError, match="9-9-9"):
        named(SPACE, "9-9-9")


def test_what_is_drawn_of_chains_and_cells() -> None:
    assert sketch(SPACE, SPACE[0]).labels == {"stem", "block, 2"}
    assert sketch(NASBench201(), (3, 0, 0, 1, 0, 0)).labels == {"nor_conv_3x3", "skip_connect"}
