import json
import subprocess
import sys
from pathlib import Path

import exports
import pytest
import short_runs
import torch
from safetensors.torch import save_file

import lightning_nas
from lightning_nas.errors import NASError
from lightning_nas.export import Exported, load_exported, safetensors
from lightning_nas.export.exported import KEY
from lightning_nas.spaces import NASBench201, RestrictedSpace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    safetensors.write(exports.exported(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_network_is_read_back(file: Path) -> None:
    original, found = exports.exported(), lightning_nas.load_exported(str(file))
    assert found.describe() == original.describe()
    assert (found.classes, found.normalisation) == (original.classes, original.normalisation)
    assert not found.network.training
    short_runs.assert_same(dict(found.network.state_dict()), dict(original.network.state_dict()))


def test_what_is_not_known_stays_unknown(tmp_path: Path) -> None:
    safetensors.write(exports.path_of_supernet(exports.SPACE), tmp_path / "model.safetensors")
    found = load_exported(tmp_path / "model.safetensors")
    assert (found.classes, found.normalisation) == (None, None)


def test_a_part_of_a_space_is_read_back(tmp_path: Path) -> None:
    whole = NASBench201(channels=4, cells=1, image_size=8)
    part = RestrictedSpace(whole, ((1, 3),) * 6)
    safetensors.write(exports.exported(part, (1, 3, 1, 3, 1, 3)), tmp_path / "model.safetensors")
    assert load_exported(tmp_path / "model.safetensors").space == part


@pytest.mark.slow
def test_it_is_read_in_a_fresh_process(file: Path) -> None:
    code = (
        f"import torch, lightning_nas; network = lightning_nas.load_exported({str(file)!r}).network;"
        "print(network(torch.ones(1, 1, 8, 8)).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    expected = exports.exported().network(torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), expected)


def test_other_files_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"'nothing\.safetensors' is to be loaded, but there is no such file"):
        load_exported("nothing.safetensors")
    (tmp_path / "text").write_text("hello, world")
    with pytest.raises(NASError, match="is damaged or no safetensors file"):
        load_exported(tmp_path / "text")
    (tmp_path / "cut").write_bytes(file.read_bytes()[:-100])
    with pytest.raises(NASError, match="is damaged or no safetensors file"):
        load_exported(tmp_path / "cut")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(NASError, match="was not written by lightning_nas"):
        load_exported(tmp_path / "foreign")


def rewritten(tmp_path: Path, exported: Exported, **changes: object) -> Path:
    weights = exported.network.state_dict()
    description = json.dumps({**exported.describe(), **changes})
    save_file(weights, tmp_path / "changed.safetensors", metadata={KEY: description})
    return tmp_path / "changed.safetensors"


def test_a_description_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    exported = exports.exported()
    with pytest.raises(NASError, match="has format 99: this version reads format 1"):
        load_exported(rewritten(tmp_path, exported, format=99))
    with pytest.raises(NASError, match="its description does not fit its weights"):
        load_exported(rewritten(tmp_path, exported, norm={"affine": False, "running_stats": True}))
    with pytest.raises(NASError, match="its description does not fit its weights"):
        load_exported(rewritten(tmp_path, exported, input=None))
    with pytest.raises(NASError, match="cannot be imported"):
        load_exported(rewritten(tmp_path, exported, space={"class_path": "nowhere.Space", "init_args": {}}))
