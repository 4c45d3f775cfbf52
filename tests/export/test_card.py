import dataclasses
import re
from pathlib import Path

import exports
import pytest
import torch

from lightning_nas.export import FORMATS, Exported, Report, card

REPORT = Report(1.5e-6, 0.00123, 1, 91.234, 9, 0, 2_500_000)


def text(exported: Exported, to: str = "onnx", report: Report = REPORT, command: str | None = None) -> str:
    out = Path(f"some/m.{to}")
    return card.text(exported, report, to, out, Path(f"{out}.png"), "trained alone", command)


def test_a_card_says_what_users_must_know() -> None:
    exported = exports.exported(path=exports.SPACE.decode("2-1-1"))
    found = text(exported, command="lightning-nas export --to onnx")
    cost = exported.space.cost(exported.path)
    for line in (
        "# m.onnx",
        "![The architecture](m.onnx.png)",
        "- **Architecture**: `2-1-1`",
        "- **Weights**: trained alone",
        "- **Format**: onnx, 2.50 MB",
        f"- **Parameters**: {cost.params:,}",
        f"- **Multiply-adds**: {cost.macs:,} per image",
        "- **Accuracy**: 91.23 % on the test split of digits",
        "- **Largest difference from PyTorch**: 1.5e-06",
        "```bash\nlightning-nas export --to onnx\n```",
    ):
        assert line in found, line
    assert "1.23 ms for one image, in 1 thread of a CPU" in found
    assert "`images`: float32, N x 1 x 8 x 8, any N." in found
    assert "mean 72.5 and standard deviation 90 per channel" in found
    assert "`logits`: float32, N x 10, one per class: `0`, `1`," in found
    assert "Batch-norm" not in found
    assert "9 of 9 layers folded" in text(exported, report=REPORT._replace(folded=9))


def test_a_card_says_what_is_not_known() -> None:
    exported = dataclasses.replace(exports.exported(), classes=None, normalisation=None)
    found = text(exported, report=REPORT._replace(accuracy=None))
    assert "**Accuracy**: not measured" in found
    assert "mean and standard deviation were not given" in found
    assert "the names of the classes are not known" in found
    assert "Made by" not in found


def test_many_classes_are_in_the_description() -> None:
    exported = dataclasses.replace(exports.exported(), classes=tuple(map(str, range(10, 31))))
    assert "one per class; `m.onnx.json` names them" in text(exported)


@pytest.mark.parametrize("to", FORMATS)
def test_the_printed_program_runs(to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported, x = exports.exported(), torch.ones(2, 1, 8, 8)
    FORMATS[to].write(exported, tmp_path / f"m.{to}")
    [code] = re.findall(r"```python\n(.*?)```", text(exported, to), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"images": x.numpy() if to == "onnx" else x}
    exec(code, names)  # noqa: S102  (what users are told to run)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.as_tensor(names["logits"]), exported.network(x), rtol=1e-4, atol=1e-4
        )
