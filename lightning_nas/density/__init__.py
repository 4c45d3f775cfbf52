"""How densely a search space is populated around every path.

Roshtkhari, Toews and Pedersoli, Debiased One-shot NAS via Density-aware Sampling, Sec. 3.3 to 3.6.
"""

from lightning_nas.density.distance import hamming_mean_distance, mean_distance, unit_vectors
from lightning_nas.density.representation import (
    Representation,
    UnitRepresentation,
    mean_distances,
    probe_indices,
    unit_representations,
)

__all__ = [
    "Representation",
    "UnitRepresentation",
    "hamming_mean_distance",
    "mean_distance",
    "mean_distances",
    "probe_indices",
    "unit_representations",
    "unit_vectors",
]
