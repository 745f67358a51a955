"""What all cells decide together, counted slab by slab: extremes and histograms, and the thresholds that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch import reduce
from mpibatch.filters.thresholds.histogram import isodata, triangle, yen
from mpibatch.filters.thresholds.multi_otsu import multiotsu
from mpibatch.filters.thresholds.otsu import count_levels, of_bins, of_levels

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpibatch.fields.field import Field
    from mpibatch.job.file.schema import Step

__all__ = ["Arrays", "Counts", "Extremes"]

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


class Extremes:
    """The least and the greatest value so far."""

    def __init__(self, known: Arrays) -> None:
        self.ends = known.get("ends")

    def add(self, u: Field) -> None:
        """Take a slab in. Collective."""
        ends = np.array([reduce.min(u), reduce.max(u)], u.dtype)
        if self.ends is not None:
            # NaN stays NaN, as in the whole.
            ends = np.array([np.minimum(self.ends[0], ends[0]), np.maximum(self.ends[1], ends[1])], u.dtype)
        self.ends = ends

    def arrays(self) -> Arrays:
        """Return what another run goes on from. Local."""
        return {} if self.ends is None else {"ends": self.ends}


class Counts:
    """The histogram between known extremes that a threshold follows from: of integers, one bin for each level."""

    def __init__(self, step: Step, ends: Array, known: Arrays) -> None:
        self._step, self.ends = step, ends
        self._bins = int(step.parameters.get("nbins", 256))
        self._counts, self._edges = known.get("counts"), known.get("edges")
        # Of equal values Otsu's threshold is theirs, and nothing is counted.
        self._is_flat = self._method == "threshold_otsu" and bool(ends[0] == ends[1])

    @property
    def _method(self) -> str:
        return "threshold_otsu" if self._step.filter == "binarize" else self._step.filter

    def add(self, u: Field) -> None:
        """Take a slab in. Collective."""
        if self._is_flat:
            return
        least, most = self.ends
        if u.dtype.kind in "iu":
            counts = count_levels(self._method, u, int(least), int(most))
        else:
            ends = (np.uint8(least), np.uint8(most)) if u.dtype.kind == "b" else (least, most)
            counts, self._edges = reduce.histogram(u, self._bins, range=ends)
        self._counts = counts if self._counts is None else self._counts + counts

    def arrays(self) -> Arrays:
        """Return what another run goes on from. Local."""
        known = {"ends": self.ends, "counts": self._counts, "edges": self._edges}
        return {name: array for name, array in known.items() if array is not None}

    def threshold(self) -> Any:
        """Return the threshold, or thresholds, as the function of the step's name does. Local. UsageError."""
        least, most = self.ends
        if self._is_flat:
            return least
        counts = self._counts
        assert counts is not None
        edges, given = self._edges, self._step.parameters
        if self._method == "threshold_otsu" and edges is None:
            return of_levels(counts, int(least), int(most))
        centers = np.arange(int(least), int(most) + 1) if edges is None else (edges[:-1] + edges[1:]) / 2.0
        by_name: dict[str, Callable[[], Any]] = {
            "threshold_otsu": lambda: of_bins(counts, centers),
            "threshold_yen": lambda: yen(counts, centers),
            "threshold_isodata": lambda: isodata(counts, centers, bool(given.get("return_all", False))),
            "threshold_triangle": lambda: triangle(counts, centers, lambda: least),
            "threshold_multiotsu": lambda: multiotsu(counts, centers, int(given.get("classes", 3))),
        }
        return by_name[self._method]()
