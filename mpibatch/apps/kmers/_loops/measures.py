"""How alike two sets are, by how many numbers they have, and how many in common."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.compiled import compiled_lean

__all__ = ["CONTAINED", "CONTAINMENT", "DISTANCE", "JACCARD", "MEASURES", "measure"]

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

# Rows of what is computed: the sets' share in common; that of the first which is in the second, and the other way
# round; and Mash's distance.
MEASURES = 4
JACCARD, CONTAINMENT, CONTAINED, DISTANCE = range(MEASURES)


@compiled_lean
def measure(shared: Ints, first: Ints, second: Ints, k: int, out: Values) -> Any:
    """Write the measures of pairs, whose sets have `first` and `second` numbers. Local. Nothing of nothing is 0."""
    for n in range(shared.size):
        both = np.float64(shared[n])
        union = np.float64(first[n] + second[n] - shared[n])
        jaccard = both / union if union > 0.0 else 0.0
        out[JACCARD, n] = jaccard
        out[CONTAINMENT, n] = both / np.float64(first[n]) if first[n] > 0 else 0.0
        out[CONTAINED, n] = both / np.float64(second[n]) if second[n] > 0 else 0.0
        # 0 of equal sets, without a sign; 1 is far, and of sets that have nothing in common.
        far = 1.0
        if 0.0 < jaccard < 1.0:
            far = min(1.0, -math.log(2.0 * jaccard / (1.0 + jaccard)) / k)
        elif jaccard == 1.0:
            far = 0.0
        out[DISTANCE, n] = far
