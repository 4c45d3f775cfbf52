import json
from pathlib import Path
from typing import Any

import photographs
import pytest

from lightning_nas.commands import convert
from lightning_nas.commands import run as run_command
from lightning_nas.errors import NASError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return photographs.write(tmp_path / "photos")


def manifest(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return content


def test_a_folder_is_converted(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    run_command(
        "convert", ["--data", str(data), "--out", str(out), "--mode", "mixed", "--val_fraction", "0.25"]
    )
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "test.beton", "train.beton"]
    found = manifest(out)
    assert (found["dataset"], found["classes"]) == ("photos", ["bird", "cat", "dog"])
    assert (found["mode"], found["max_side"], found["val_fraction"]) == ("mixed", 500, 0.25)
    assert {split: entry["images"] for split, entry in found["files"].items()} == {"train": 60, "test": 24}
    assert all(entry["bytes"] == (out / entry["name"]).stat().st_size for entry in found["files"].values())
    captured = capsys.readouterr()
    assert f"{out / 'train.beton'}: 60 images, 16.8 MB\n" in captured.out
    assert f"Train on them with --data FFCVDataModule --data.root {out}\n" in captured.out
    assert "Writing train.beton" in captured.err


def test_a_finished_conversion_is_kept(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(data=data, out=out)
    times = [path.stat().st_mtime_ns for path in sorted(out.iterdir())]
    convert(data=data, out=out)
    assert [path.stat().st_mtime_ns for path in sorted(out.iterdir())] == times


@pytest.mark.parametrize("truncated", [False, True])
def test_a_file_that_is_not_whole_is_written_again(data: Path, tmp_path: Path, truncated: bool) -> None:
    out = tmp_path / "out"
    convert(data=data, out=out)
    before, content = manifest(out), (out / "train.beton").read_bytes()
    kept = (out / "test.beton").stat().st_mtime_ns
    if truncated:
        (out / "train.beton").write_bytes(content[:-1])
    else:
        (out / "train.beton").unlink()
    convert(data=data, out=out)
    assert (out / "train.beton").read_bytes() == content
    assert (manifest(out), (out / "test.beton").stat().st_mtime_ns) == (before, kept)


def test_an_interrupted_conversion_continues(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, straight = tmp_path / "out", tmp_path / "straight"
    (data / "val" / "dog" / "03.png").rename(tmp_path / "03.png")
    (data / "val" / "dog" / "03.png").symlink_to(tmp_path / "03.png")

    def interrupt(path: Path, *others: Any) -> Any:
        if path.name == "test.beton":
            raise KeyboardInterrupt
        return write(path, *others)

    module = __import__("sys").modules["lightning_nas.commands.convert"]
    write = module.write_beton
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_beton", interrupt)
        with pytest.raises(KeyboardInterrupt):
            convert(data=data, out=out)
    assert list(manifest(out)["files"]) == ["train"]
    kept = (out / "train.beton").stat().st_mtime_ns
    convert(data=data, out=out)
    convert(data=data, out=straight)
    assert (out / "train.beton").stat().st_mtime_ns == kept
    assert manifest(out) == manifest(straight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mode": "raw"},
            r"^out is .*, which was converted with mode jpg, and now it is raw: choose another folder",
        ),
        ({"quality": 80}, r"converted with quality 90, and now it is 80"),
        ({"val_fraction": 0.5}, r"converted with val_fraction 0\.1, and now it is 0\.5"),
    ],
)
def test_another_conversion_is_not_overwritten(
    data: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    convert(data=data, out=tmp_path / "out", val_fraction=0.1)
    with pytest.raises(NASError, match=message):
        convert(data=data, out=tmp_path / "out", **({"val_fraction": 0.1} | options))


def test_a_file_of_somebody_else_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    (tmp_path / "train.beton").write_text("mine")
    with pytest.raises(
        NASError, match=r"which has a train\.beton and no manifest\.json: choose another folder"
    ):
        convert(data=data, out=tmp_path)
    assert (tmp_path / "train.beton").read_text() == "mine"


def test_other_images_do_not_continue_a_conversion(data: Path, tmp_path: Path) -> None:
    convert(data=data, out=tmp_path / "out")
    (data / "train" / "cat" / "00.png").unlink()
    with pytest.raises(NASError, match=r"which was converted with other image files: choose another folder"):
        convert(data=data, out=tmp_path / "out")


@pytest.mark.usefixtures("_ffcv")
def test_unreadable_images_are_refused_or_left_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = data / "train" / "cat" / "07.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(NASError, match=r"images only, but .*/train/cat/07\.png cannot be decoded"):
        convert(data=data, out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    convert(data=data, out=tmp_path / "out", skip_unreadable=True)
    assert manifest(tmp_path / "out")["files"]["train"]["skipped"] == ["train/cat/07.png"]
    assert manifest(tmp_path / "out")["files"]["train"]["images"] == 59
    assert "59 images, 16.8 MB; 1 unreadable left out: train/cat/07.png\n" in capsys.readouterr().out


@pytest.mark.usefixtures("_ffcv")
def test_a_class_without_readable_images(data: Path, tmp_path: Path) -> None:
    for file in (data / "val" / "dog").iterdir():
        file.write_bytes(b"none")
    with pytest.raises(
        NASError, match=r"^skip_unreadable leaves no image of the class 'dog' in the split test$"
    ):
        convert(data=data, out=tmp_path / "out", skip_unreadable=True)
    for file in (data / "train").glob("*/*"):
        file.write_bytes(b"none")
    with pytest.raises(
        NASError, match=r"^skip_unreadable leaves no image of the class 'bird' in the split train$"
    ):
        convert(data=data, out=tmp_path / "out2", skip_unreadable=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0}, r"^quality is 0: valid are numbers from 1$"),
        ({"quality": 101}, r"^quality is 101, but must be at most 100\.$"),
        ({"max_side": 0}, r"^max_side is 0: valid are numbers from 1$"),
        ({"compressed": 1.5}, r"^compressed is 1\.5, but must be between 0 and 1\.$"),
        ({"val_fraction": 0.001}, r"^val_fraction is 0\.001, which leaves no image of 60 for validation\.$"),
        ({"data": Path("/missing")}, r"^data is /missing, but must be a folder with train/<class>/\*"),
    ],
)
def test_wrong_options(data: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        convert(**({"data": data, "out": tmp_path / "out"} | options))
    assert not (tmp_path / "out").exists()
