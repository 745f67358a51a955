"""From whole numbers to scikit-image's properties of regions, rounded as seldom as their formulas allow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError, nearest
from mpibatch.measure._engine.tallies import RowLayout, pairs_of
from mpibatch.measure._engine.words import integers, ratios
from mpibatch.measure._properties.moments import MOMENTS, WEIGHTED
from mpibatch.measure._properties.outlines import OUTLINES
from mpibatch.measure._properties.patterns import PATTERNS
from mpibatch.reduce.order.keys import values_of

__all__ = ["INTENSITY", "PROPERTIES", "Regions", "check", "kinds_of", "order_of"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GEOMETRY = (
    *("label", "num_pixels", "area", "area_bbox", "bbox", "centroid", "equivalent_diameter_area", "extent"),
    *("axis_major_length", "axis_minor_length", "eccentricity", "inertia_tensor", "inertia_tensor_eigvals"),
    *("orientation", "centroid_local", *PATTERNS, *OUTLINES, *MOMENTS),
)
INTENSITY = (
    *("centroid_weighted", "centroid_weighted_local", "intensity_max", "intensity_mean", "intensity_min"),
    *("intensity_median", "intensity_std", *WEIGHTED),
)
PROPERTIES = (*GEOMETRY, *INTENSITY)
# The axes of a grid for which a property is defined; for others any number.
_AXES = {
    "orientation": (2,),
    "euler_number": (2, 3),
    **dict.fromkeys(("perimeter", "perimeter_crofton", *OUTLINES, "moments_hu", "moments_weighted_hu"), (2,)),
    "eccentricity": (2,),
    "axis_major_length": (2, 3),
    "axis_minor_length": (2, 3),
    "inertia_tensor": (2, 3, 4),
    "inertia_tensor_eigvals": (2, 3, 4),
}
_UNIT = ("moments_hu", "moments_weighted_hu")
_EVEN = ("perimeter", "perimeter_crofton")
_SECOND = ("axis_major_length", "axis_minor_length", "eccentricity", "inertia_tensor", "inertia_tensor_eigvals")
# Products of whole numbers that this is an upper bound of do not overflow.
SAFE = 2.0**62


# Properties that there are in scikit-image and not here, and why.
_LEFT_OUT = {
    **dict.fromkeys(
        ("coords", "coords_scaled", "image", "image_convex", "image_filled", "image_intensity", "slice"),
        "is no number for each region, but as much as the region is large; take the cells of a label themselves "
        "(labels == 3), or its box (find_objects)",
    ),
    "area_filled": "needs the holes of each region to be filled on its own; fill all of them "
    "(mpibatch.segment.binary_fill_holes), and label that",
}


def check(properties: Any, ndim: int, has_values: bool, spacing: tuple[float, ...]) -> tuple[str, ...]:
    """Return the names of properties; UsageError for those that there are not. Local."""
    if isinstance(properties, str) or not isinstance(properties, Iterable):
        raise UsageError(f"regionprops_table: properties={properties!r}; give a tuple of names, such as ('label',)")
    names = tuple(properties)
    for name in names:
        if name in _LEFT_OUT:
            raise UsageError(f"regionprops_table: {name!r} {_LEFT_OUT[name]}")
        if name not in PROPERTIES:
            raise UsageError(f"regionprops_table: property {name!r} is unknown{nearest(str(name), PROPERTIES)}")
        if name in INTENSITY and not has_values:
            raise UsageError(f"regionprops_table: {name!r} is a property of values; give intensity=, a field of them")
        if ndim not in _AXES.get(name, (ndim,)):
            many = " or ".join(map(str, _AXES[name]))
            raise UsageError(f"regionprops_table: {name!r} is defined for {many} axes, and the grid has {ndim}")
        if name in _UNIT and {*spacing} != {1.0}:
            raise UsageError(f"regionprops_table: {name!r} with spacing={spacing}: is defined for 1; leave spacing out")
        if name in _EVEN and len({*spacing}) > 1:
            raise UsageError(
                f"regionprops_table: {name!r} with spacing={spacing}: its weights are those of square cells; give one "
                "spacing, or leave it out"
            )
    return names


def order_of(names: Iterable[str]) -> int:
    """Return 2 if sums of products of coordinates are needed, else 1. Local."""
    return 2 if {*_SECOND, "orientation"} & {*names} else 1


def kinds_of(names: Iterable[str]) -> set[str]:
    """Return which sums of values are needed. Local."""
    kinds = {
        "intensity_mean": {"total"},
        "intensity_std": {"total", "square"},
        "centroid_weighted": {"total", "moment"},
        "centroid_weighted_local": {"total", "moment"},
        **{name: {"total"} for name in WEIGHTED},
    }
    return set().union(*(kinds.get(name, set()) for name in names))


@dataclass(frozen=True)
class Regions:
    """Rows of labels and, from them, columns by scikit-image's names."""

    layout: RowLayout
    rows: Ints
    spacing: tuple[float, ...]

    def columns(self, names: Sequence[str], known: Mapping[str, Array]) -> dict[str, Array]:
        """Return the columns of properties; those with parts have a column for each, ``name-0`` and so on. Local.

        What is `known` already is taken from there.
        """
        result: dict[str, Array] = {}
        for name in names:
            value = known[name] if name in known else getattr(self, f"_{name}")()
            if isinstance(value, np.ndarray) and value.ndim == 1:
                result[name] = value
                continue
            for index in np.ndindex(value.shape[1:]):
                result["-".join([name, *map(str, index)])] = np.ascontiguousarray(value[(slice(None), *index)])
        return result

    @cached_property
    def _parts(self) -> list[Ints]:
        return self.layout.parts(self.rows)

    @property
    def _count(self) -> Ints:
        return np.ascontiguousarray(self._parts[1][:, 0])

    @property
    def _volume(self) -> np.float64:
        """The volume of a cell."""
        return np.float64(math.prod(self.spacing))

    def _label(self) -> Ints:
        return np.ascontiguousarray(self._parts[0][:, 0])

    def _num_pixels(self) -> Ints:
        return self._count

    def _area(self) -> Floats:
        return self._count * self._volume

    def _bbox(self) -> Ints:
        ndim, ends = self.layout.ndim, self._parts[7]
        return np.concatenate([-ends[:, :ndim], ends[:, ndim:] + 1], axis=1)

    def _area_bbox(self) -> Floats:
        ndim, box = self.layout.ndim, self._bbox()
        return np.asarray((box[:, ndim:] - box[:, :ndim]).prod(axis=1) * self._volume)

    def _extent(self) -> Floats:
        return self._area() / self._area_bbox()

    def _equivalent_diameter_area(self) -> Floats:
        ndim = self.layout.ndim
        # Python's power: NumPy's may depend on where in an array a number stands.
        return np.array([(2 * ndim * area / math.pi) ** (1 / ndim) for area in self._area().tolist()], np.float64)

    @property
    def corners(self) -> Ints:
        """The first cell of each region's box."""
        return self._bbox()[:, : self.layout.ndim]

    @property
    def has_nan(self) -> Array:
        """Which regions have cells that are NaN."""
        return np.asarray(self._marks[:, 0])

    @property
    def holed(self) -> Array:
        """Which regions have cells without a finite value."""
        return np.asarray(self._marks.any(axis=1))

    @cached_property
    def _sums(self) -> Array:
        return integers(self._parts[2].reshape(-1, self.layout.ndim, self.layout.words))

    def _centroid(self) -> Floats:
        columns = [ratios(self._sums[:, a], self._count) * s for a, s in enumerate(self.spacing)]
        return np.stack(columns, axis=1)

    def _centroid_local(self) -> Floats:
        """The centroid in the region's box."""
        firsts = self.corners
        sums = [self._sums[:, a] - self._count.astype(self._sums.dtype) * firsts[:, a] for a in range(firsts.shape[1])]
        return np.stack([ratios(s, self._count) * step for s, step in zip(sums, self.spacing, strict=True)], axis=1)

    @cached_property
    def _central(self) -> list[Array]:
        """The sums of products of distances from the centroid, times the number of cells: whole numbers."""
        pairs = pairs_of(self.layout.ndim)
        products = integers(self._parts[3].reshape(-1, len(pairs), self.layout.words))
        count, result = self._count, []
        largest = float(np.max(count, initial=0)) * float(np.max(products, initial=0))
        if largest < SAFE:
            sums, factors = self._sums, count
        else:
            sums, products, factors = self._sums.astype(object), products.astype(object), count.astype(object)
        for p, (a, b) in enumerate(pairs):
            result.append(factors * products[:, p] - sums[:, a] * sums[:, b])
        return result

    @cached_property
    def _variance(self) -> dict[tuple[int, int], Floats]:
        """The covariance of each pair of coordinates, rounded once, and then scaled."""
        count = self._count if float(np.max(self._count, initial=0)) ** 2 < SAFE else self._count.astype(object)
        ratio = {
            pair: ratios(c, count * count) for pair, c in zip(pairs_of(self.layout.ndim), self._central, strict=True)
        }
        return {(a, b): values * (self.spacing[a] * self.spacing[b]) for (a, b), values in ratio.items()}

    @cached_property
    def _tensor(self) -> Floats:
        ndim, variance = self.layout.ndim, self._variance
        result = np.empty((len(self.rows), ndim, ndim))
        for a in range(ndim):
            others = [variance[b, b] for b in range(ndim) if b != a]
            result[:, a, a] = sum(others[1:], others[0])
            for b in range(a + 1, ndim):
                result[:, a, b] = result[:, b, a] = -variance[a, b]
        return result

    def _inertia_tensor(self) -> Floats:
        return self._tensor

    @cached_property
    def _eigenvalues(self) -> Floats:
        """The eigenvalues of the inertia tensors, the greatest first."""
        if self.layout.ndim != 2:
            # One matrix at a time in LAPACK's hands: its row does not matter.
            return np.asarray(np.maximum(np.linalg.eigvalsh(self._tensor)[:, ::-1], 0.0))
        a, b, c = self._tensor[:, 0, 0], self._tensor[:, 0, 1], self._tensor[:, 1, 1]
        greater = 0.5 * (a + c) + np.sqrt((0.5 * (a - c)) ** 2 + b * b)
        # The lesser from the determinant, a whole number: nothing cancels.
        yy, yx, xx = (values.astype(object) for values in self._central)
        count = self._count.astype(object)
        scale = (self.spacing[0] * self.spacing[1]) ** 2
        determinant = ratios(yy * xx - yx * yx, count**4) * scale
        with np.errstate(divide="ignore", invalid="ignore"):
            lesser = np.where(determinant > 0, determinant / greater, 0.0)
        return np.stack([greater, np.minimum(lesser, greater)], axis=1)

    def _inertia_tensor_eigvals(self) -> Floats:
        return self._eigenvalues

    def _axis_major_length(self) -> Floats:
        values = self._eigenvalues
        if self.layout.ndim == 2:
            return np.asarray(4 * np.sqrt(values[:, 0]))
        return np.sqrt(np.maximum(10 * (values[:, 0] + values[:, 1] - values[:, 2]), 0.0))

    def _axis_minor_length(self) -> Floats:
        values = self._eigenvalues
        if self.layout.ndim == 2:
            return np.asarray(4 * np.sqrt(values[:, 1]))
        return np.sqrt(np.maximum(10 * (-values[:, 0] + values[:, 1] + values[:, 2]), 0.0))

    def _eccentricity(self) -> Floats:
        greater, lesser = self._eigenvalues.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(greater == 0, 0.0, np.sqrt(1 - lesser / greater))

    def _orientation(self) -> Floats:
        tensor = self._tensor

        def angle(a: float, b: float, c: float) -> float:
            if a - c == 0:
                return math.pi / 4 if b < 0 else -math.pi / 4
            return 0.5 * math.atan2(-2 * b, c - a)

        return np.array([angle(t[0][0], t[0][1], t[1][1]) for t in tensor.tolist()], np.float64)

    @cached_property
    def _marks(self) -> Array:
        """Whether there was NaN, infinity, minus infinity."""
        return self._parts[8][:, 2:] > 0

    @cached_property
    def _total(self) -> Array:
        return integers(self._parts[4])

    def _intensity_mean(self) -> Floats:
        nan, plus, minus = self._marks.T
        mean = ratios(self._total, self._count, self.layout.unit)
        mean = np.where(plus, np.inf, np.where(minus, -np.inf, mean))
        return np.where(nan | (plus & minus), np.nan, mean)

    def _intensity_std(self) -> Floats:
        squares, count = integers(self._parts[6]), self._count.astype(object)
        variance = ratios(count * squares - self._total * self._total, count * count, 2 * self.layout.unit)
        return np.where(self._marks.any(axis=1), np.nan, np.sqrt(variance))

    def _intensity_min(self) -> Floats:
        return np.where(self._marks[:, 0], np.nan, -values_of(self._parts[8][:, 0], np.dtype("f8")) + 0.0)

    def _intensity_max(self) -> Floats:
        return np.where(self._marks[:, 0], np.nan, values_of(self._parts[8][:, 1], np.dtype("f8")))

    def _centroid_weighted(self, firsts: Ints | None = None) -> Floats:
        moments = integers(self._parts[5].reshape(-1, self.layout.ndim, self.layout.moment))
        if firsts is not None:
            moments = moments - self._total.astype(object)[:, None] * firsts
        is_finite = ~self._marks.any(axis=1)
        columns = [ratios(moments[:, a], self._total) * s for a, s in enumerate(self.spacing)]
        return np.stack([np.where(is_finite, column, np.nan) for column in columns], axis=1)

    def _centroid_weighted_local(self) -> Floats:
        return self._centroid_weighted(self.corners)
