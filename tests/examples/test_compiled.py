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
from lightning_nas.spaces import NASBench201

SPACE = NASBench201(channels=4, cells=1)


def train(root: Path, *callbacks: Callback) -> SupernetModule:
    module = short_runs.supernet_module(SPACE)
    flags: dict[str, Any] = {"max_steps": 6, "limit_val_batches": 1, "val_check_interval": 4}
    trainer = short_runs.trainer(root, UniformSampler(seed=0), *callbacks, **flags)
    trainer.fit(module, datamodule=short_runs.digits())
    return module


@pytest.mark.slow
# torch looks at it itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_run_is_that_run(tmp_path: Path) -> None:
    """Without inductor, whose kernels round otherwise, and need a compiler and minutes."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    plain = train(tmp_path / "plain")
    with torch._dynamo.config.patch(recompile_limit=8):  # which the callback raises, for the process
        compiled = train(tmp_path / "compiled", Compiled("eager"))
    short_runs.assert_same(compiled.state_dict(), plain.state_dict())
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    # Those of one kind and size share theirs; training and scoring have one each.
    assert 4 <= graphs < len(list(blocks(compiled)))
    # What measures and extracts sees the weights that were compiled.
    images, labels = torch.randn(16, 1, 8, 8), torch.zeros(16, dtype=torch.int64)
    paths = [SPACE[11718], SPACE[7]]
    found = [mean_distances(one.supernet, paths, images, labels, "cka") for one in (plain, compiled)]
    assert (found[0] == found[1]).all()
    extracted = [one.supernet.extract(paths[0])(images) for one in (plain, compiled)]
    assert torch.equal(*extracted)
