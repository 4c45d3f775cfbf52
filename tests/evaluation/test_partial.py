from pathlib import Path

import pytest
import torch

from lightning_nas.errors import NASError
from lightning_nas.evaluation import PartialScores

SETTINGS = {"weights": "abc", "data.eval_batch_size": 20}
STATE = {"batches": 1, "scored": [0, 3], "sums": {"loss": torch.arange(3.0)}}


def test_what_is_kept_comes_back_until_it_is_removed(tmp_path: Path) -> None:
    kept = PartialScores(tmp_path / "run" / "partial", SETTINGS)
    assert kept.read() is None
    kept.write(STATE)
    found = kept.read()
    assert found is not None
    assert found["scored"] == [0, 3]
    assert torch.equal(found["sums"]["loss"], STATE["sums"]["loss"])  # type: ignore[index]
    kept.remove()
    assert kept.read() is None


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    PartialScores(tmp_path / "partial", SETTINGS).write(STATE)
    other = PartialScores(tmp_path / "partial", SETTINGS | {"data.eval_batch_size": 10})
    with pytest.raises(
        NASError, match=r"begun with data\.eval_batch_size 20, but now data\.eval_batch_size is 10"
    ):
        other.read()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 half a file"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "partial").write_bytes(content)
    with pytest.raises(NASError, match="partial is damaged: remove it to score all paths anew"):
        PartialScores(tmp_path / "partial", SETTINGS).read()
