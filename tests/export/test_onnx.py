import json
from pathlib import Path

import exports
import onnx as onnx_package
import onnxruntime
import pytest
import torch
from space_checks import images

from lightning_nas.export import onnx


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.write(exports.exported(), file)
    return file


def test_the_graph_says_what_it_takes_and_what_it_is(file: Path) -> None:
    session = onnxruntime.InferenceSession(file)
    [taken], [given] = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape, taken.type) == ("images", ["N", 1, 8, 8], "tensor(float)")
    assert (given.name, given.shape) == ("logits", ["N", 10])
    described = session.get_modelmeta().custom_metadata_map["lightning_nas"]
    assert json.loads(described) == exports.exported().describe()


def test_the_graph_is_valid_and_whole(file: Path) -> None:
    model = onnx_package.load(file, load_external_data=False)
    onnx_package.checker.check_model(model, full_check=True)
    assert not any(weight.external_data for weight in model.graph.initializer)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


@pytest.mark.slow
def test_onnxruntime_alone_runs_it(file: Path, tmp_path: Path) -> None:
    exported, x = exports.exported(), images(exports.SPACE, 3)
    code = (
        "sys.modules['torch'] = None; import onnxruntime;"
        f"[logits] = onnxruntime.InferenceSession({str(file)!r}).run(None, {{'images': images}})"
    )
    found = exports.without_lightning_nas(code, x, tmp_path)
    torch.testing.assert_close(found, exported.network(x).detach(), rtol=0, atol=1e-4)
