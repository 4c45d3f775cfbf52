from pathlib import Path

import pytest
import yaml

from lightning_nas import config
from lightning_nas.errors import NASError

BEFORE = {"seed_everything": 0, "model": {"space": {"image_size": 20}}, "trainer": {"default_root_dir": "a"}}


def test_unchanged_settings_may_continue(tmp_path: Path) -> None:
    config.require_unchanged(BEFORE, tmp_path)
    config.save(BEFORE, tmp_path)
    config.require_unchanged(BEFORE | {"trainer": {"default_root_dir": "b"}}, tmp_path)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == BEFORE


def test_the_first_changed_key_is_named(tmp_path: Path) -> None:
    config.save(BEFORE, tmp_path)
    with pytest.raises(
        NASError, match=r"begun with model\.space\.image_size 20, but now model\.space\.image_size is 14"
    ):
        config.require_unchanged(BEFORE | {"model": {"space": {"image_size": 14}}}, tmp_path)
