"""One order from those of several estimators."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from lightning_nas.errors import NASError


def vote(experts: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """How many others every network beats in the opinion of most experts: its Copeland score.

    Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, Sec. 3.1, compare two networks by majority. Such
    comparisons may go round in a circle, and the number of victories is an order all the same.

    Args:
        experts: Estimates, higher is better, each of shape (n,); what is not finite loses against all that is.

    Raises:
        NASError: No experts, or of different lengths.
    """
    columns = [np.asarray(expert, dtype=np.float64) for expert in experts]
    if not columns or len({column.shape for column in columns}) > 1:
        raise NASError(f"vote has {len(columns)} experts: valid is at least one, all of the same networks")
    # Where nothing is known, an estimate is below all others, and equal to others of its kind.
    ranks = np.stack([rankdata(np.where(np.isfinite(column), column, -np.inf)) for column in columns])
    wins = [np.count_nonzero(np.sign(own[:, None] - ranks).sum(axis=0) > 0) for own in ranks.T]
    return np.array(wins, dtype=np.float64)
