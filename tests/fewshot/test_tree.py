import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from space_checks import CONFIGS, small_space, some_paths
from splitting_examples import COSINES
from toy_space import Toy

from lightning_nas import fewshot
from lightning_nas.errors import NASError
from lightning_nas.fewshot import EveryChoice, Plan, RandomSplit, SplitMetric, Subject, split
from lightning_nas.fewshot.metrics import Fork, SimilarityMetric
from lightning_nas.spaces import ListedSpace, NASBench201, RestrictedSpace, SearchSpace
from lightning_nas.spaces.base import Choices

SPACES = [small_space(file) for file in sorted(CONFIGS.glob("*_small.yaml"))]
TOY = Toy(layers=3)
LISTED = ListedSpace(TOY, ((0, 1, 2), (0, 2, 2), (1, 1, 1), (2, 0, 0), (2, 1, 2)))
RANDOM = RandomSplit()
RESTRICTED = RestrictedSpace(TOY, ((0, 1), (0, 1, 2), (1, 2)))


def grown(space: SearchSpace, plan: Plan, metric: SplitMetric = RANDOM, seed: int = 0) -> fewshot.Node:
    # These metrics look neither at the supernet nor at data.
    return split(Subject(space, None, None, seed), metric, plan)  # type: ignore[arg-type]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_leaves_are_disjoint_and_cover_the_space(data: st.DataObject) -> None:
    space = data.draw(st.sampled_from([*SPACES, TOY, LISTED, RESTRICTED]))
    known = len(Plan(depth=1).candidates(space))
    depth = data.draw(st.integers(1, min(3, known)))
    branching = data.draw(st.lists(st.integers(2, 4), min_size=1, max_size=depth))
    plan = Plan(depth, tuple(branching), balanced=data.draw(st.booleans()))
    metric = data.draw(st.sampled_from([RandomSplit(), EveryChoice()]))
    root = grown(space, plan, metric, seed=data.draw(st.integers(0, 5)))
    parts = [leaf.space for leaf in root.leaves]
    assert sum(part.size for part in parts) == space.size == root.space.size
    for path in some_paths(space, 30):
        assert sum(part.is_valid(path) for part in parts) == 1
    for part in parts:
        for path in some_paths(part, 3):
            assert space.is_valid(path)


@dataclass(frozen=True)
class Given(SimilarityMetric):
    """Operations differ more at decision 2 than at all others."""

    of_equals = 1.0

    def compare(self, subject: Subject, fork: Fork) -> tuple[NDArray[np.float64], None]:
        scale = 1.0 if fork.decision == 2 else 0.5
        return 1 - scale * (1 - COSINES[np.ix_(fork.options, fork.options)]), None


def test_the_decision_that_separates_most_is_split() -> None:
    root = grown(NASBench201(), Plan(depth=2, order="score", balanced=True), Given())
    assert root.decision == 2
    assert root.division is not None
    assert root.division.groups == ((2, 3), (0, 1, 4))
    assert root.division.separation == pytest.approx(4.55)
    assert [child.decision for child in root.children] == [0, 0]  # of equals the first
    chosen = grown(NASBench201(), Plan(depth=1, order="score", decisions=(5, 1)), Given())
    assert chosen.decision == 5
    with pytest.raises(NASError, match="order is 'score', but the metric RandomSplit knows no distances"):
        grown(NASBench201(), Plan(order="score"))


def test_levels_have_groups_of_their_own() -> None:
    root = grown(NASBench201(), Plan(depth=2, branching=(3, 2), decisions=(4, 1)), Given())
    assert root.decision == 4
    assert [len(node.children) for node in (root, *root.children)] == [3, 2, 2, 2]
    assert len(grown(NASBench201(), Plan(depth=1), EveryChoice()).leaves) == 5


def test_a_decision_that_others_have_settled_is_passed_over() -> None:
    # With 0 at the first decision the second is free; with 1 it is 1.
    space = ListedSpace(TOY, ((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 1)))
    root = grown(space, Plan(depth=2, decisions=(0, 1)), EveryChoice())
    assert [child.decision for child in root.children] == [1, None]
    assert [leaf.space.size for leaf in root.leaves] == [1, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth is 0: valid are numbers from 1"),
        (
            {"depth": 4},
            "depth is 4, but there are only 3 decisions with a choice to split at: valid is 1 to 3",
        ),
        ({"branching": (2, 1)}, r"branching is \[2, 1\]: valid are numbers from 2"),
        ({"branching": ()}, r"branching is \[\]"),
        ({"depth": 1, "branching": (2, 3)}, r"branching is \[2, 3\], but depth is 1: valid are as many"),
        ({"decisions": (0, 1, 0)}, r"decisions is \[0, 1, 0\], but a decision can be split only once"),
        ({"decisions": (0, 1, 3)}, "decisions has 3: valid are 0 to 2"),
        ({"depth": 3, "decisions": (0, 1)}, "depth is 3, but there are only 2 decisions"),
    ],
)
def test_impossible_plans_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NASError, match=message):
        grown(TOY, Plan(**options))


def test_a_space_of_one_path_is_refused() -> None:
    with pytest.raises(NASError, match="no decision has a choice to split at"):
        grown(ListedSpace(TOY, ((0, 1, 2),)), Plan(depth=1))


@pytest.mark.parametrize("space", [TOY, LISTED, RESTRICTED, SPACES[0]])
def test_a_written_split_is_read(space: SearchSpace, tmp_path: Path) -> None:
    root = grown(space, Plan(depth=2 if len(space.num_choices) > 1 else 1))
    fewshot.write(root, {"metric": "RandomSplit()"}, tmp_path)
    leaves = fewshot.read(tmp_path, space)
    assert leaves.parts == tuple(leaf.space for leaf in root.leaves)
    for path in some_paths(space, 10):
        assert leaves.parts[leaves.of(path)].is_valid(path)
    for number, part in enumerate(leaves.parts):
        config = yaml.safe_load((tmp_path / f"leaf-{number}.yaml").read_text())
        assert SearchSpace.from_description(config["model"]["space"]) == part
    with pytest.raises(NASError, match="already holds a split"):
        fewshot.require_free(tmp_path)


def test_a_split_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="lightning-nas split writes one"):
        fewshot.read(tmp_path, TOY)
    fewshot.write(grown(TOY, Plan(depth=1)), {}, tmp_path)
    with pytest.raises(NASError, match="is a split of"):
        fewshot.read(tmp_path, RESTRICTED)
    tree = json.loads((tmp_path / "tree.json").read_text())
    tree["tree"]["children"][0]["allowed"][0] = []
    (tmp_path / "tree.json").write_text(json.dumps(tree))
    with pytest.raises(NASError, match="leaves decision 0 without a choice"):
        fewshot.read(tmp_path, TOY)
    for damaged in (b"{}", b"[]", b"\xff"):
        (tmp_path / "tree.json").write_bytes(damaged)
        with pytest.raises(NASError, match="is damaged"):
            fewshot.read(tmp_path, TOY)


def test_figures_and_table_of_a_split(tmp_path: Path) -> None:
    root = grown(TOY, Plan(depth=2))
    truth = {path: 50.0 + number for number, path in enumerate(TOY)}
    fewshot.report(root, "random", truth, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"tree.png", "leaves.csv", "ground_truth.png"}
    header, *rows = (tmp_path / "leaves.csv").read_text().splitlines()
    assert header == "leaf,paths,choices,best,mean,of the best 1 %"
    assert len(rows) == 4
    assert sum(int(row.rpartition(",")[2]) for row in rows) == 1


def test_the_metric_is_not_asked_where_there_is_nothing_to_divide() -> None:
    choices: Choices = ((0, 1), (1,), (0, 2))
    root = grown(RestrictedSpace(TOY, choices), Plan(depth=2), EveryChoice())
    assert [node.decision for node in (root, *root.children)] == [0, 2, 2]
