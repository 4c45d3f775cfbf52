from pathlib import Path
from typing import Any

import pytest
import short_runs
import torch
from search_runs import SPACE, data, evolution, one_by_one, rows, search

from lightning_nas.errors import NASError
from lightning_nas.search import Boltzmann, RandomSearch, Shifting


def test_shifting_trains_a_copy_as_sgd_would(tmp_path: Path) -> None:
    """The first path of the search, against a loop written here."""
    module, again = short_runs.supernet_module(SPACE), short_runs.supernet_module(SPACE)
    shifting = Shifting(steps=3, lr=0.1, momentum=0.9, weight_decay=0.01, label_smoothing=0.1)
    found = search(tmp_path, module, algorithm=RandomSearch(1), shifting=shifting)
    path = again.space.decode(found["best"]["arch"])
    decayed = {name for name, p in again.named_parameters() if p.ndim > 1}
    velocity: dict[str, torch.Tensor] = {}
    for (images, labels, _), _ in zip(data().train_dataloader(), range(3), strict=False):
        again.zero_grad()
        torch.nn.functional.cross_entropy(again(images, path), labels, label_smoothing=0.1).backward()
        with torch.no_grad():
            for name, p in again.named_parameters():
                if p.grad is not None:
                    gradient = p.grad + 0.01 * p * (name in decayed)
                    velocity[name] = gradient if name not in velocity else 0.9 * velocity[name] + gradient
                    p.sub_(0.1 * velocity[name])
    for name, p in module.named_parameters():
        torch.testing.assert_close(p, again.get_parameter(name), rtol=1e-5, atol=1e-7)


def test_shifting_by_generation_takes_one_step_of_the_mean_loss(tmp_path: Path) -> None:
    module, again = short_runs.supernet_module(SPACE), short_runs.supernet_module(SPACE)
    shifting = Shifting(steps=1, lr=0.1, momentum=0.0, weight_decay=0.0, label_smoothing=0.0, accumulate=True)
    search(tmp_path, module, algorithm=RandomSearch(4), shifting=shifting)
    paths = [again.space.decode(row["arch"]) for row in rows(tmp_path)]
    for (images, labels, _), path in zip(data().train_dataloader(), paths, strict=True):
        (torch.nn.functional.cross_entropy(again(images, path), labels) / 4).backward()
    with torch.no_grad():
        for p in again.parameters():
            p.sub_(0.1 * (torch.zeros_like(p) if p.grad is None else p.grad))
    for name, p in module.named_parameters():
        torch.testing.assert_close(p, again.get_parameter(name), rtol=1e-5, atol=1e-7)


def test_the_best_are_scored_anew_with_the_final_weights(tmp_path: Path) -> None:
    module = short_runs.supernet_module(SPACE)
    found = search(tmp_path, module, algorithm=evolution(), shifting=Shifting(steps=2, lr=0.1))
    archs = [row["arch"] for row in found["top"]]
    accuracies, _ = one_by_one(module, archs)
    assert [row["score"] for row in found["top"]] == pytest.approx(accuracies)
    during = {row["arch"]: float(row["score"]) for row in rows(tmp_path)}
    assert [during[arch] for arch in archs] != accuracies


def test_shifting_refuses_what_it_cannot_train(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="use Evolution"):
        search(tmp_path, algorithm=Boltzmann(), shifting=Shifting())
    with pytest.raises(NASError, match="only shifting trains it"):
        search(tmp_path, transfer=True)
    wrong: list[dict[str, Any]] = [
        {"steps": 0},
        {"lr": 0.0},
        {"momentum": -0.1},
        {"weight_decay": -1.0},
        {"label_smoothing": 1.0},
    ]
    for options in wrong:
        with pytest.raises(NASError, match=f"shifting.{next(iter(options))}"):
            Shifting(**options)
