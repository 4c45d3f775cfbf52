import json
from pathlib import Path

import exports
import pytest
import torch
from space_checks import images

from lightning_nas.export import program


def test_the_description_travels_with_the_program(tmp_path: Path) -> None:
    exported = exports.exported()
    program.write(exported, tmp_path / "model.pt2")
    extra = {"lightning_nas.json": ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert json.loads(extra["lightning_nas.json"]) == exported.describe()


@pytest.mark.slow
def test_pytorch_alone_runs_it(tmp_path: Path) -> None:
    exported = exports.exported()
    program.write(exported, tmp_path / "model.pt2")
    x = images(exported.space, 3)
    code = (
        "import torch; network = torch.export.load('model.pt2').module();"
        "logits = network(torch.from_numpy(images)).detach().numpy()"
    )
    found = exports.without_lightning_nas(code, x, tmp_path)
    torch.testing.assert_close(found, exported.network(x).detach(), rtol=0, atol=1e-4)
