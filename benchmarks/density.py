"""The mean distance of every path to the others: the closed form against the matrix of all pairs."""

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import DTypeLike, NDArray

from benchmarks.measure import Figure, arguments, report, seconds, speedup
from lightning_nas.density import mean_distance

Vectors = NDArray[np.floating]


def matrix(vectors: Vectors, dtype: DTypeLike) -> Vectors:
    """Eq. 4 and 5 as they stand: all cosine distances, and the mean of each row without itself."""
    y = vectors.astype(dtype)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    distances = y @ y.T
    np.subtract(1, distances, out=distances)
    mean: Vectors = distances.sum(axis=1) / (len(y) - 1)
    return mean


def allocated_megabytes(call: Callable[[], object]) -> float:
    """The most that NumPy had allocated at once during a call."""
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def measure(n: int, d: int, rounds: int) -> list[Figure]:
    # A common part, as the logits of paths with shared weights have: distances are well below 1.
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((n, d)) + rng.standard_normal(d)).astype(np.float32)
    closed, full = partial(mean_distance, vectors), partial(matrix, vectors, np.float64)
    single = partial(matrix, vectors, np.float32)
    taken = seconds({"closed": closed, "full": full, "single": single}, rounds)
    memory, full_memory = allocated_megabytes(closed), allocated_megabytes(full)
    difference = float(np.abs(closed() - full()).max())
    where = f"{n} x {d}"
    time = {side: [1e3 * value for value in values] for side, values in taken.items()}
    return [
        speedup(f"{where}: time, matrix / closed form", time["closed"], time["full"], "ms"),
        speedup(f"{where}: time, float32 matrix / closed form", time["closed"], time["single"], "ms"),
        Figure(f"{where}: time, closed form", time["closed"], "ms"),
        speedup(f"{where}: memory, matrix / closed form", [memory], [full_memory], "MB"),
        Figure(f"{where}: memory, closed form", [memory], "MB"),
        Figure(f"{where}: largest difference", [difference], "1"),
    ]


def main() -> None:
    options = arguments(__doc__)
    if options.quick:
        figures = measure(2000, 640, rounds=5)
    else:
        figures = measure(6561, 640, rounds=9) + measure(15625, 640, rounds=5)
    report(figures, options)


if __name__ == "__main__":
    main()
