import json
from pathlib import Path
from typing import Any

import exports
import pytest
import short_runs
import torch

from lightning_nas.errors import NASError
from lightning_nas.export import FORMATS, load_exported, shipping
from lightning_nas.export.shipping import require_possible, ship


@pytest.fixture(autouse=True)
def _soon_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "SECONDS", 0.01)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_network_its_description_a_drawing_and_a_card_are_written(tmp_path: Path) -> None:
    exported = exports.exported()
    out = tmp_path / "new" / "4.1.safetensors"
    report = ship(exported, "safetensors", out)
    assert names(out.parent) == {out.name, *(f"{out.name}{suffix}" for suffix in (".json", ".md", ".png"))}
    assert json.loads(Path(f"{out}.json").read_text()) == exported.describe()
    assert Path(f"{out}.png").read_bytes().startswith(b"\x89PNG")
    assert Path(f"{out}.md").read_text().startswith("# 4.1.safetensors\n")
    assert load_exported(out).describe() == exported.describe()
    assert report.bytes == out.stat().st_size
    assert 0 < report.latency < 1
    assert report.accuracy is None
    assert (report.batch_norms, report.folded) == (8, 0)


def test_accuracy_is_that_on_the_test_split(tmp_path: Path) -> None:
    data, exported = short_runs.digits(), exports.exported()
    found = ship(exported, "safetensors", tmp_path / "m.safetensors", data).accuracy
    images, labels = data.splits.test.batch(torch.arange(len(data.splits.test)))
    with torch.no_grad():
        expected = (exported.network(images).argmax(1) == labels).double().mean()
    assert found == pytest.approx(100 * float(expected))
    assert found is not None
    assert 0 < found < 100


def test_batch_norm_is_folded_on_request(tmp_path: Path) -> None:
    exported = exports.exported()
    report = ship(exported, "torch_export", tmp_path / "m.pt2", fold_batch_norm=True)
    assert (report.batch_norms, report.folded) == (8, 8)
    names = torch.export.load(tmp_path / "m.pt2").state_dict
    assert not any("running_mean" in name for name in names)
    assert "8 of 8 layers folded" in (tmp_path / "m.pt2.md").read_text()


def test_a_file_that_answers_otherwise_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(file: Path) -> Any:
        run = FORMATS["safetensors"].load(file)
        return lambda images: run(images) + 0.01

    monkeypatch.setitem(shipping.FORMATS, "broken", FORMATS["safetensors"]._replace(load=wrong))
    with pytest.raises(NASError, match="differs from the one in PyTorch"):
        ship(exports.exported(), "broken", tmp_path / "m.safetensors")
    assert not names(tmp_path)


def test_a_name_of_another_format_is_refused() -> None:
    with pytest.raises(NASError, match=r"out is 'm\.pt', but a file of torch_export ends in \.pt2"):
        require_possible("torch_export", Path("m.pt"), False, False)


def test_folding_and_layers_exclude_each_other() -> None:
    with pytest.raises(NASError, match="safetensors keeps the layers of the architecture"):
        require_possible("safetensors", Path("m.safetensors"), True, False)


@pytest.mark.parametrize("existing", ["m.onnx", "m.onnx.md", "m.onnx.json", "m.onnx.png"])
def test_files_are_replaced_only_on_request(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).touch()
    with pytest.raises(NASError, match=rf"{existing}' exists: choose another --out, or .* --overwrite"):
        require_possible("onnx", tmp_path / "m.onnx", False, False)
    require_possible("onnx", tmp_path / "m.onnx", False, True)
    require_possible("onnx", tmp_path / "new" / "m.onnx", False, False)
    assert names(tmp_path) == {existing, "new"}
    assert names(tmp_path / "new") == set()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NASError, match=r"m\.onnx', where nothing can be written: Not a directory"):
        require_possible("onnx", tmp_path / "file" / "deep" / "m.onnx", False, False)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        NASError, match=r"--to onnx needs the package onnx, .* pip install 'lightning-nas\[export\]'"
    ):
        require_possible("onnx", Path("m.onnx"), False, False)
