"""Two ranks train the paths and images that one process draws, and rank 0 alone measures what they depend on."""

from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import short_runs
import torch
from distributed_runs import BARE, DENSITY, UNIFORM, MakeSampler, train, train_case
from gloo_workers import GlooPair, rank
from lightning import Callback, LightningModule, Trainer
from sampler_cases import SAMPLERS
from torch import Tensor

from lightning_nas.samplers import DataImportanceSampler

pytestmark = pytest.mark.slow


def train_where_only_rank_0_can_measure(root: Path, sampler: MakeSampler) -> dict[str, Any]:
    with ExitStack() as stack:
        for measure in ("density.mean_distances", "prototype_density.represent"):
            if rank():
                stack.enter_context(patch(f"lightning_nas.samplers.{measure}", None))
        return train(root, sampler, **BARE)


def train_case_where_only_rank_0_can_measure(root: Path, name: str) -> dict[str, Any]:
    return train_where_only_rank_0_can_measure(root, SAMPLERS[name].make)


def evolve_where_only_rank_0_can_score(root: Path) -> dict[str, Any]:
    with nullcontext() if rank() == 0 else patch("lightning_nas.samplers.evolution.accuracies", None):
        return train(root, SAMPLERS["evolution_pareto"].make, **BARE)


@pytest.mark.parametrize("name", SAMPLERS)
def test_both_ranks_train_the_paths_of_a_single_process(pair: GlooPair, tmp_path: Path, name: str) -> None:
    first, second = pair.run(train_case, tmp_path, name, **BARE)
    alone = train_case(tmp_path, name, **BARE)
    assert len(alone["paths"]) == 12
    assert first["paths"] == second["paths"] == alone["paths"]
    short_runs.assert_same(first["sampler"], second["sampler"])
    short_runs.assert_same(first["sampler"]["visits"], alone["sampler"]["visits"])


def train_on_important_images(root: Path) -> dict[str, Any]:
    """The images of every batch, and what their sampler knows at the end."""
    images, seen = DataImportanceSampler(schedule="constant"), Images()
    train(root, UNIFORM, images, seen, **BARE)
    return {"seen": seen.indices, "state": images.state_dict()}


class Images(Callback):
    """Remembers the images of every batch."""

    def __init__(self) -> None:
        self.indices: list[Tensor] = []

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, *_: Any) -> None:
        self.indices.append(batch[2])


def test_ranks_share_the_images_that_one_process_draws(pair: GlooPair, tmp_path: Path) -> None:
    together = pair.run(train_on_important_images, tmp_path)
    short_runs.assert_same(together[0]["state"], together[1]["state"])
    alone = train_on_important_images(tmp_path)
    for batch, *shares in zip(alone["seen"], *(shown["seen"] for shown in together), strict=True):
        assert torch.equal(torch.stack(shares, dim=1).flatten(), batch)
    for name in ("probabilities", "importance", "norms"):
        torch.testing.assert_close(together[0]["state"][name], alone["state"][name], rtol=1e-4, atol=1e-6)
    assert torch.equal(together[0]["state"]["seen"], alone["state"]["seen"])


def test_densities_are_measured_by_rank_0_alone(pair: GlooPair, tmp_path: Path) -> None:
    """What two ranks measure may differ in the last bit, and then they would draw different paths."""
    first, second = pair.run(train_where_only_rank_0_can_measure, tmp_path, DENSITY)
    short_runs.assert_same(first["sampler"], second["sampler"])
    assert first["paths"] == second["paths"]
    alone = train(tmp_path, DENSITY, **BARE)["sampler"]
    for measured in ("distance", "probabilities"):
        torch.testing.assert_close(first["sampler"][measured], alone[measured], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name.startswith("prototype_density")])
def test_prototypes_are_measured_by_rank_0_alone(pair: GlooPair, tmp_path: Path, name: str) -> None:
    first, second = pair.run(train_case_where_only_rank_0_can_measure, tmp_path, name)
    assert len(first["sampler"]["centres"]) > 0
    short_runs.assert_same(first["sampler"], second["sampler"])
    assert first["paths"] == second["paths"]


def test_populations_are_scored_by_rank_0_alone(pair: GlooPair, tmp_path: Path) -> None:
    first, second = pair.run(evolve_where_only_rank_0_can_score, tmp_path)
    assert first["sampler"]["generation"] == 2
    short_runs.assert_same(first["sampler"], second["sampler"])
    assert first["paths"] == second["paths"]


def test_a_refusal_reaches_both_ranks(pair: GlooPair, tmp_path: Path) -> None:
    """Rank 0 alone would leave the other waiting for it."""
    refused = pair.outcomes(train, tmp_path, partial(DENSITY, probe_size=1000), **BARE)
    for outcome in refused:
        assert outcome.message.startswith("lightning_nas.errors.NASError:"), outcome.error
        assert "1000" in outcome.message
