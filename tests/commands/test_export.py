import json
import re
from pathlib import Path
from typing import Any

import exports
import pytest
import torch
import yaml
from space_checks import CONFIGS, small_space

from lightning_nas import load_exported
from lightning_nas.cli import main
from lightning_nas.evaluation import Calibration
from lightning_nas.export import shipping
from lightning_nas.spaces import NormPolicy, RestrictedSpace

DIGITS = ["-c", str(CONFIGS.parent / "data" / "digits.yaml")]
SPACE, ARCH = exports.SPACE, exports.ARCH
PATH = SPACE.decode(ARCH)
FACTS = {
    "class_path": "DigitsDataModule",
    "init_args": {"train_size": 100, "val_size": 100, "batch_size": 50},
}


@pytest.fixture(autouse=True)
def _soon_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "SECONDS", 0.01)


@pytest.fixture
def supernet(tmp_path: Path) -> Path:
    exports.write_supernet(tmp_path / "run" / "last.ckpt")
    return tmp_path / "run" / "last.ckpt"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    exports.write_network(tmp_path / "alone" / "last.ckpt")
    return tmp_path / "alone" / "last.ckpt"


def export(file: Path, out: Path, *more: str, to: str = "safetensors") -> None:
    main(["export", "--ckpt_path", str(file), "--to", to, "--out", str(out), *more])


def refusal(
    file: Path, folder: Path, *more: str, to: str = "safetensors", name: str = "m.safetensors"
) -> str:
    """The one sentence on which the command ends, and nothing is written."""
    with pytest.raises(SystemExit) as stopped:
        export(file, folder / name, *more, to=to)
    assert stopped.value.code == 2
    assert "\n" not in str(stopped.value)
    assert not list(folder.glob("m.*"))
    return str(stopped.value)


@torch.no_grad()
def test_a_path_of_a_supernet_has_statistics_of_the_training_images(
    supernet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "config.yaml").write_text(
        yaml.safe_dump({"trainer": {"max_epochs": 3}, "data": FACTS})
    )
    out = tmp_path / "m.safetensors"
    export(supernet, out, "-c", str(supernet.parent / "config.yaml"), "--arch", ARCH, "--recalibrate", "80")
    found = load_exported(out)
    data = shipping_data()
    expected = exports.write_supernet(tmp_path / "again.ckpt", norm=NormPolicy(running_stats=True))
    batches = data.training_images(80)[0].split(40)  # equal ones, of at most the 50 of training
    x = torch.randn(3, 1, 8, 8)
    with Calibration(expected.eval(), batches).of(PATH):  # type: ignore[arg-type]
        torch.testing.assert_close(found.network(x), expected(x, PATH), rtol=1e-4, atol=1e-4)
    mean = data.splits.train.mean
    assert found.normalisation is not None
    assert found.normalisation.mean == pytest.approx(mean.tolist())
    assert found.classes == exports.DIGITS
    printed = capsys.readouterr().out
    assert re.search(r"accuracy: [0-9.]+ % on the test split of digits\n", printed)
    assert re.search(r"largest difference from PyTorch: [0-9.]+e-0[5-9]\n", printed)
    assert "measured on 80 training images of digits" in Path(f"{out}.md").read_text()


def shipping_data() -> Any:
    from lightning_nas.data import DigitsDataModule

    return DigitsDataModule(**FACTS["init_args"])  # type: ignore[arg-type]


@torch.no_grad()
def test_a_network_trained_alone_needs_neither_architecture_nor_data(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    export(network, out)
    found, expected = load_exported(out), exports.write_network(tmp_path / "again.ckpt")
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(found.network(x), expected(x))
    assert (found.path, found.normalisation) == (PATH, None)
    export(network, out, "--arch", ARCH, "--overwrite")
    with pytest.raises(SystemExit, match=r"m\.safetensors' exists: choose another --out"):
        export(network, out)


def test_a_network_without_statistics_gets_some(tmp_path: Path) -> None:
    exports.write_network(tmp_path / "x.ckpt", norm=NormPolicy(affine=True))
    assert "has no batch-norm statistics of '2-1-1' alone: give data" in refusal(
        tmp_path / "x.ckpt", tmp_path
    )
    export(tmp_path / "x.ckpt", tmp_path / "m.safetensors", *DIGITS)
    assert "measured on 300 training images" in (tmp_path / "m.safetensors.md").read_text()


def test_every_format_is_written(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(network, tmp_path / "m.pt2", "--fold_batch_norm", to="torch_export")
    assert "batch-norm: 8 of 8 layers folded into convolutions" in capsys.readouterr().out
    export(network, tmp_path / "m.onnx", "--data", "DigitsDataModule", to="onnx")
    assert "batch-norm" not in capsys.readouterr().out


def test_the_card_has_the_command(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = [
        "export",
        "--ckpt_path",
        str(network),
        "--to",
        "safetensors",
        "--out",
        str(tmp_path / "a b.safetensors"),
    ]
    monkeypatch.setattr("sys.argv", ["/usr/bin/lightning-nas", *args])
    main()
    expected = (
        f"lightning-nas export --ckpt_path {network} --to safetensors --out '{tmp_path}/a b.safetensors'"
    )
    assert f"```bash\n{expected}\n```" in (tmp_path / "a b.safetensors.md").read_text()


def test_the_best_of_a_search_is_exported(supernet: Path, tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text(json.dumps({"best": {"arch": ARCH}}))
    export(supernet, tmp_path / "m.safetensors", *DIGITS, "--arch", str(tmp_path / "search.json"))
    assert load_exported(tmp_path / "m.safetensors").path == PATH


def test_without_batch_norm_a_path_needs_no_data(tmp_path: Path) -> None:
    space = small_space(CONFIGS / "autoformer_small.yaml")
    supernet = exports.write_supernet(tmp_path / "x.ckpt", space).eval()
    export(tmp_path / "x.ckpt", tmp_path / "m.safetensors", "--arch", space.encode(space[5]))
    x = torch.randn(2, 1, 8, 8)
    found = load_exported(tmp_path / "m.safetensors")
    torch.testing.assert_close(found.network(x), supernet(x, space[5]))


def test_a_part_of_a_space_is_exported_as_the_whole(tmp_path: Path) -> None:
    whole = small_space(CONFIGS / "nasbench201_small.yaml")
    part = RestrictedSpace(whole, ((1, 3),) * 6)
    exports.write_supernet(tmp_path / "x.ckpt", part)
    export(tmp_path / "x.ckpt", tmp_path / "m.safetensors", *DIGITS, "--arch", part.encode(part[3]))
    assert load_exported(tmp_path / "m.safetensors").space == whole
    removed = whole.encode(whole[0])
    (tmp_path / "other").mkdir()
    assert "but not in the part of it" in refusal(
        tmp_path / "x.ckpt", tmp_path / "other", *DIGITS, "--arch", removed
    )


def test_a_supernet_without_data_is_refused(supernet: Path, tmp_path: Path) -> None:
    said = refusal(supernet, tmp_path, "--arch", ARCH)
    assert "has no batch-norm statistics of '2-1-1' alone: give data (-c)" in said
    assert "or train the network with retrain" in said


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "arch is not given, but ckpt_path .* holds a supernet: give an architecture such as '1-1-2'"),
        (
            ["--arch", "9-9-9"],
            "arch does not fit ckpt_path .*, which holds Pooling: architecture '9-9-9' is not in",
        ),
        (
            ["--arch", "22212220"],
            "arch does not fit ckpt_path .*, which holds Pooling: architecture '22212220'",
        ),
        (["--arch", "none.json"], "arch is 'none.json', but there is no such file"),
        (["--arch", ARCH, "--recalibrate", "1"], "recalibrate is 1: valid are numbers of images from 2"),
        (["--arch", ARCH, "-c", "none.yaml"], "-c is 'none.yaml', but there is no such file"),
        (["--arch", ARCH, "-c", str(CONFIGS / "pooling.yaml")], "pooling.yaml', which has no key data"),
        (["--arch", ARCH, "-c", __file__], "which is no YAML"),
        (["--arch", ARCH, "--data", "Digits"], "--data is 'Digits': valid are .*DigitsDataModule"),
        (["--arch", ARCH, *DIGITS, "--data.train_size", "5000"], r"train_size \+ val_size is 5000"),
        (["--arch", ARCH, *DIGITS, "--data.eval_batch_size", "1500"], "the test split has 997 images"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    supernet: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    assert re.search(message, refusal(supernet, tmp_path, *more))


def test_other_networks_and_files_are_refused(network: Path, tmp_path: Path) -> None:
    said = refusal(network, tmp_path, "--arch", "1-2-1")
    assert "arch is '1-2-1', but ckpt_path" in said
    assert "holds the network of '2-1-1' alone" in said
    assert "there is no such file" in refusal(tmp_path / "none.ckpt", tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    assert "was not written by lightning_nas" in refusal(tmp_path / "foreign.ckpt", tmp_path)
    assert "ends in .onnx" in refusal(network, tmp_path, to="onnx")
    assert "where nothing can be written" in refusal(network, tmp_path, name="alone/last.ckpt/m.safetensors")


def test_other_data_is_refused(tmp_path: Path) -> None:
    exports.write_supernet(tmp_path / "large.ckpt", SPACE.adapt(image_size=16))
    more = ["--arch", ARCH, *DIGITS]
    said = refusal(tmp_path / "large.ckpt", tmp_path, *more)
    assert "data has image_size 8, but the checkpoint was trained with image_size 16" in said
    exports.write_supernet(tmp_path / "named.ckpt", classes=[*"012345678", "nine"])
    said = refusal(tmp_path / "named.ckpt", tmp_path, *more)
    assert "was trained on data whose class 9 is 'nine', but class 9 of data is '9'" in said
