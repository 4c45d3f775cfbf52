"""The example of ``docs/compile.md``: in place, with the same names, and the paths of a run share what is compiled."""

from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from lightning import Callback

from examples.compiled import Compiled, blocks
from lightning_nas.density import mean_distances
from lightning_nas.module import SupernetModule
from lightning_nas.samplers import UniformSampler
from lightning_nas.spaces import NASBench201, Pooling, SearchSpace

SPACES: dict[str, SearchSpace] = {
    "nasbench201": NASBench201(channels=4, cells=1),
    "pooling": Pooling(blocks=(1, 1, 1), channels=(4, 4, 6)),
}


def train(root: Path, space: SearchSpace, *callbacks: Callback) -> SupernetModule:
    module = short_runs.supernet_module(space)
    flags: dict[str, Any] = {"max_steps": 6, "limit_val_batches": 1, "val_check_interval": 4}
    trainer = short_runs.trainer(root, UniformSampler(seed=0), *callbacks, **flags)
    trainer.fit(module, datamodule=short_runs.digits())
    return module


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch looks at it itself
@pytest.mark.parametrize("name", SPACES)
def test_a_compiled_run_is_that_run(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what inductor is given, run as it is; kernels of its own would round otherwise."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(
        torch._dynamo.config, "recompile_limit", 8
    )  # which the callback raises, for the process
    plain = train(tmp_path / "plain", SPACES[name])
    compiled = train(tmp_path / "compiled", SPACES[name], Compiled(backend=backend))
    short_runs.assert_same(compiled.state_dict(), plain.state_dict())
    assert len(set(blocks(compiled))) >= 4
    assert 4 <= len(graphs) <= 2 * 2 * len(list(blocks(compiled)))
    # What measures and extracts sees the weights that were compiled.
    path = SPACES[name][0]
    images, labels = torch.randn(16, 1, 8, 8), torch.zeros(16, dtype=torch.int64)
    paths = [path, SPACES[name][1]]
    found = [mean_distances(one.supernet, paths, images, labels, "cka") for one in (plain, compiled)]
    assert (found[0] == found[1]).all()
    extracted = [one.supernet.extract(path)(images) for one in (plain, compiled)]
    assert torch.equal(*extracted)
