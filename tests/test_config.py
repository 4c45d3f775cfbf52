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


@pytest.mark.parametrize(
    ("saver", "reader", "left"),
    [
        ("retrain", "validate", "seed_everything trainer"),
        ("retrain", "retrain", "seed_everything trainer inherit tree arch"),
        ("fit_fewshot", "retrain", "seed_everything trainer arch"),
        ("fit_fewshot", "validate_fewshot", "seed_everything trainer tree arch"),
        ("fit", "validate", "seed_everything trainer inherit tree arch"),
    ],
)
def test_keys_of_the_verb_that_saved_are_left_out_and_no_others(
    tmp_path: Path, saver: str, reader: str, left: str
) -> None:
    settings = {"seed_everything": 0, "trainer": {"a": [1]}, "inherit": "x", "tree": "y", "arch": "z"}
    if (saver, reader) == ("retrain", "validate"):
        del settings["tree"]
    config.save(settings, tmp_path, saver)
    _, given = config.without_keys_of_others(reader, ["-c", str(tmp_path / "config.yaml")])
    text = (tmp_path / "config.yaml").read_text() if "\n" not in given else given
    assert yaml.safe_load(text) == {key: settings[key] for key in left.split()}


def test_a_config_that_is_no_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model:\n  b: [1\nc: 2\n")
    with pytest.raises(NASError, match=r"a\.yaml', which is no YAML: line 3 "):
        config.without_keys_of_others("fit", [f"--config={tmp_path / 'a.yaml'}"])
