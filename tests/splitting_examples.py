"""Similarities that several tests of splitting share."""

import numpy as np

# Five operations: none, skip, 1x1, 3x3 and pool.
COSINES = np.array(
    [
        [1.0, 0.8, 0.3, 0.1, 0.7],
        [0.8, 1.0, 0.4, 0.2, 0.75],
        [0.3, 0.4, 1.0, 0.35, 0.3],
        [0.1, 0.2, 0.35, 1.0, 0.15],
        [0.7, 0.75, 0.3, 0.15, 1.0],
    ]
)
