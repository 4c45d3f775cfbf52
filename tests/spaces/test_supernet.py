from collections.abc import Hashable

import torch
from torch import Tensor
from toy_space import Toy, ToySupernet

from lightning_nas.spaces import NormPolicy

TOY = Toy(layers=4)


def test_path_parameters_leave_out_what_other_choices_own() -> None:
    supernet = Toy(layers=2, width=4).build_supernet()
    for path in supernet.space:
        for parameter in supernet.parameters():
            parameter.grad = None
        supernet(torch.randn(2, 1, 8, 8), path).sum().backward()
        used = {id(p) for p in supernet.parameters() if p.grad is not None}
        assert {id(p) for p in supernet.path_parameters(path)} == used


def test_every_path_of_a_product_space_is_run_once_with_shared_prefixes() -> None:
    calls: list[int] = []

    class Counting(ToySupernet):
        def run_stage(self, depth: int, choice: Hashable, x: Tensor) -> Tensor:
            calls.append(depth)
            return super().run_stage(depth, choice, x)

    supernet = Counting(Toy(layers=3, width=4), NormPolicy())
    x = torch.randn(5, 1, 8, 8)
    paths = tuple(supernet.space)[::-1]
    outputs = dict(supernet.forward_each(x, paths))
    assert len(calls) == 1 + 3 + 9 + 27 + 27
    assert sorted(outputs) == list(range(27))
    assert all(torch.equal(outputs[i], supernet(x, path)) for i, path in enumerate(paths))


def test_forward_each_of_no_paths_runs_nothing() -> None:
    assert list(Toy().build_supernet().forward_each(torch.randn(1, 1, 8, 8), ())) == []
