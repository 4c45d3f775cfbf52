"""Few-shot search: a space is split, and every part has a supernet of its own."""

from lightning_nas.fewshot.folder import TREE, Leaves, read, require_free, write
from lightning_nas.fewshot.legacy import LegacyS4
from lightning_nas.fewshot.metrics import (
    Estimated,
    EveryChoice,
    GradientMatching,
    ParameterCount,
    RandomSplit,
    SplitMetric,
    Subject,
)
from lightning_nas.fewshot.mixture import Mixture, MixtureModule
from lightning_nas.fewshot.ranking import merge, write_own
from lightning_nas.fewshot.report import report
from lightning_nas.fewshot.selection import (
    RESULT,
    Rung,
    checked,
    choose,
    draw,
    rows_of,
    write_selection,
)
from lightning_nas.fewshot.training import FewShot
from lightning_nas.fewshot.tree import Node, Plan, split

__all__ = [
    "RESULT",
    "TREE",
    "Estimated",
    "EveryChoice",
    "FewShot",
    "GradientMatching",
    "Leaves",
    "LegacyS4",
    "Mixture",
    "MixtureModule",
    "Node",
    "ParameterCount",
    "Plan",
    "RandomSplit",
    "Rung",
    "SplitMetric",
    "Subject",
    "checked",
    "choose",
    "draw",
    "merge",
    "read",
    "report",
    "require_free",
    "rows_of",
    "split",
    "write",
    "write_own",
    "write_selection",
]
