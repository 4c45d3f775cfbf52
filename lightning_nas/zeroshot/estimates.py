"""What several estimators say of the same architectures, and how well that fits the ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as File

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lightning_nas.plots import save_table
from lightning_nas.ranking import (
    complexity_bias_by_group,
    complexity_groups,
    complexity_report,
    isomorphism_report,
    kendall_tau,
    ranking_report,
)
from lightning_nas.ranking.mutation import MutationBias, Mutations, mutation_bias, mutations
from lightning_nas.spaces import Path, SearchSpace

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimates:
    """Scores of n paths.

    Attributes:
        space: Of the paths.
        paths: The paths, n of them.
        scores: By name, higher is better, shape (n,): estimators, costs, and those of a supernet.
        truth: Ground truth in percent, shape (n,); None where it is not known.
    """

    space: SearchSpace
    paths: Sequence[Path]
    scores: Mapping[str, Floats]
    truth: Floats | None = None

    @property
    def finite(self) -> dict[str, Floats]:
        """The scores, with NaN for all that is not finite: NaN counts as the worst in every criterion."""
        return {name: np.where(np.isfinite(column), column, np.nan) for name, column in self.scores.items()}

    @property
    def _with_truth(self) -> dict[str, Floats]:
        return ({} if self.truth is None else {"ground truth": self.truth}) | self.finite

    def write(self, file: File) -> None:
        """Writes a CSV table of all scores, with the names of those that are not finite in ``degenerate``."""
        names = np.array(list(self.scores))
        wrong = ~np.isfinite(np.stack(list(self.scores.values())))
        truth = {} if self.truth is None else {"ground_truth": self.truth}
        save_table(
            file,
            {"arch": [self.space.encode(path) for path in self.paths]}
            | truth
            | {name: _plain(column) for name, column in self.scores.items()}
            | {"degenerate": ["; ".join(names[column]) for column in wrong.T]},
        )

    def rank_differences(self) -> tuple[dict[str, list[float]], list[str]] | None:
        """How much every score overrates the architectures of a group of similar size.

        Returns:
            For every score the mean of rank in the ground truth minus rank by score, in every group; and what the groups hold in
            million parameters, from the smallest to the largest. None where nothing shows it.
        """
        if self.truth is None or not np.ptp(self._params):
            return None
        groups = complexity_groups(self._params)
        labels = [
            f"{self._params[group[0]] / 1e6:.3g} to {self._params[group[-1]] / 1e6:.3g}" for group in groups
        ]
        differences = {
            name: [one.rank_difference for one in complexity_bias_by_group(scores, self.truth, self._params)]
            for name, scores in self.finite.items()
        }
        return differences, labels

    @cached_property
    def _params(self) -> Floats:
        return np.array([self.space.cost(path).params for path in self.paths], dtype=np.float64)

    def criteria(self) -> dict[str, dict[str, float]]:
        """Every criterion of every score; empty where no ground truth is known."""
        if self.truth is None:
            return {}
        keys = [self.space.canonical(path) for path in self.paths]
        found = {}
        for name, scores in self.finite.items():
            found[name] = ranking_report(scores, self.truth) | isomorphism_report(scores, self.truth, keys)
            if np.ptp(self._params):
                found[name] |= complexity_report(scores, self.truth, self._params)
        return found

    def biases(self) -> dict[str, MutationBias]:
        """For every score which operations it overrates; empty where nothing shows it."""
        if self.truth is None:
            return {}
        pairs: Mutations = mutations(self.paths, self.space.choice_names)
        if not len(pairs.first):
            return {}
        return {name: mutation_bias(scores, self.truth, pairs) for name, scores in self.finite.items()}

    def taus(self) -> tuple[list[str], Floats]:
        """Kendall's tau of every two scores, the ground truth among them: names, and a symmetric matrix."""
        columns = {name: _ranks(scores) for name, scores in self._with_truth.items()}
        taus = [[kendall_tau(first, second) for second in columns.values()] for first in columns.values()]
        return list(columns), np.array(taus)

    def ranks_by_choice(self) -> dict[str, Floats]:
        """Mean rank, from 0 for the worst to 1 for the best, of the paths that take a choice.

        Returns:
            For the ground truth and every score decisions x choices; NaN where no path takes the choice.
        """
        table, choices = np.array(self.paths), max(self.space.num_choices)
        found = {}
        for name, scores in self._with_truth.items():
            ranks = (_ranks(scores) - 1) / max(len(scores) - 1, 1)
            means = np.full((table.shape[1], choices), np.nan)
            for decision, choice in np.ndindex(means.shape):
                taken = table[:, decision] == choice
                if taken.any():
                    means[decision, choice] = ranks[taken].mean()
            found[name] = means
        return found

    def best(self, number: int) -> dict[str, list[int]]:
        """The positions of the paths that every score puts first; of equal ones those that come first.

        Returns:
            For every score as many as are known, and at most ``number``.
        """
        found = {}
        for name, scores in self.finite.items():
            known = np.count_nonzero(np.isfinite(scores))
            found[name] = np.argsort(-_ranks(scores), kind="stable")[: min(number, known)].tolist()
        return found


def _ranks(scores: Floats) -> Floats:
    """1 for the worst; equal ones share a rank, and what is not known shares the worst."""
    ranks: Floats = rankdata(np.where(np.isnan(scores), -np.inf, scores))
    return ranks


def _plain(column: Floats) -> list[int] | list[float]:
    """Whole numbers, where all are."""
    whole = np.isfinite(column) & (column == column.round()) & (abs(column) < 2**53)
    return [int(value) for value in column] if whole.all() else [float(value) for value in column]
