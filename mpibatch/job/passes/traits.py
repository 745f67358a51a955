"""What each step needs to go through the data in slabs, and which steps cannot. Pure, no MPI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch import filters
from mpibatch.job.document.problems import Problems
from mpibatch.job.file.arithmetic import EXPRESSION, OPERATIONS
from mpibatch.job.file.signatures import THRESHOLDS, module_of
from mpibatch.measure._engine.places import wide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.job.file.schema import Job, Step
    from mpibatch.job.rehearsal import Rehearsed, Values

__all__ = [
    "LABEL",
    "LOCAL",
    "ROWS",
    "TABLE",
    "THRESHOLD",
    "Trait",
    "against",
    "check_streamed",
    "kind_of",
    "period_of",
    "reach_of",
    "traits_of",
]

# Kinds of steps: what a cell becomes follows from cells around it, or from a number that all cells decide; components;
# a table of regions.
LOCAL, THRESHOLD, LABEL, TABLE = "local", "threshold", "label", "table"
# Properties that follow from rows of sums and extremes, which add up slab by slab.
ROWS = (
    "label", "num_pixels", "area", "area_bbox", "bbox", "centroid", "centroid_local", "equivalent_diameter_area",
    "extent", "inertia_tensor", "inertia_tensor_eigvals", "axis_major_length", "axis_minor_length", "eccentricity",
    "orientation", "centroid_weighted", "centroid_weighted_local", "intensity_max", "intensity_mean", "intensity_min",
    "intensity_std",
)  # fmt: skip
_ONE_CELL = (*OPERATIONS, EXPRESSION, "binarize", "convert", "rgb2gray", "channel_mean")
_WRAPS = ("wrap", "grid-wrap")
# Sums over windows begin anew at every so many cells, counted from the axis's first.
_PERIODS = {"uniform_filter": "size", "uniform_filter1d": "size", "threshold_local": "block_size"}
_PERIODS |= dict.fromkeys(("threshold_niblack", "threshold_sauvola"), "window_size")
_DEFAULTS = {"size": 3, "window_size": 15}

_WHOLE = "what becomes of a cell may hang on cells anywhere in the volume"


@dataclass(frozen=True)
class Trait:
    """What a step is to a stream.

    Attributes
    ----------
    kind : LOCAL, THRESHOLD, LABEL or TABLE.
    reach : how many planes below and above a cell it reads.
    period : slabs must begin at a multiple of so many planes for its sums to be those of the whole.
    dtype, components : of its result; of a table "".
    provisional : dtype of the numbers that wait for a second pass; "": that of the result.
    """

    kind: str = LOCAL
    reach: tuple[int, int] = (0, 0)
    period: int = 1
    dtype: str = ""
    components: tuple[int, ...] = ()
    provisional: str = ""

    @property
    def cell_bytes(self) -> int:
        """Bytes of a cell of its result. Local."""
        return np.dtype(self.dtype).itemsize * math.prod(self.components) if self.dtype else 0

    @property
    def waiting(self) -> str:
        """The dtype of what waits for later passes. Local."""
        return self.provisional or self.dtype

    @property
    def waiting_bytes(self) -> int:
        """Bytes of a cell of that. Local."""
        return np.dtype(self.waiting).itemsize * math.prod(self.components)


def check_streamed(job: Job, values: Values) -> None:
    """Raise UsageError with every step that does not go through slabs, and why. Local."""
    problems = Problems(job.source)
    if values.periodic[0]:
        words = "axis 0 is periodic: its first planes read its last ones; leave [stream] out, or make another axis the"
        problems.add((), f"[stream]: {words} first one")
    for number, step in enumerate(job.steps):
        if reason := against(step, len(values.shape)):
            problems.add(
                (),
                f"step {number + 1} ({step.name}: {step.filter}) cannot be streamed: {reason}; leave [stream] out, and "
                "run on as many ranks as have the memory",
            )
    problems.check()


def traits_of(job: Job, rehearsed: Sequence[Rehearsed], values: Values) -> dict[str, Trait]:
    """Return what each step is, by name, from what a rehearsal told. Local."""
    result = {}
    for step, known in zip(job.steps, rehearsed, strict=True):
        kind = kind_of(step)
        if kind == TABLE:
            result[step.name] = Trait(TABLE)
        elif kind == LABEL:
            dtype = "int64" if wide(values.shape) else "int32"
            result[step.name] = Trait(LABEL, dtype=dtype, provisional=_provisional(step, values.shape, dtype))
        else:
            # On both sides: at a wall, what a shifted window reads before the first plane lies behind it.
            planes = 0 if kind == THRESHOLD else reach_of(step, known)[0]
            result[step.name] = Trait(
                kind, (planes, planes), period_of(step, 0, len(values.shape)), known.dtype, known.components
            )
    return result


def _provisional(step: Step, shape: Sequence[int], dtype: str) -> str:
    """The dtype of provisional numbers: 32 bits where so many cannot be in use.

    Of two neighbors at most one is the first cell of a component, if neighbors are joined.
    """
    cells = math.prod(shape)
    is_joining = step.parameters.get("structure") is None and not step.parameters.get("label_values")
    most = (cells + cells // max(shape)) // 2 if is_joining else cells
    return "uint32" if dtype == "int64" and most < 1 << 32 else dtype


def kind_of(step: Step) -> str:
    """Return the kind of a step that can be streamed. Local."""
    if step.filter == "label":
        return LABEL
    if step.filter == "regionprops_table":
        return TABLE
    is_measured = step.filter == "binarize" and step.parameters.get("threshold", "otsu") == "otsu"
    return THRESHOLD if step.filter in THRESHOLDS or is_measured else LOCAL


def against(step: Step, ndim: int, *, goes_round: bool = False) -> str:
    """Return why a step cannot be streamed; "" if it can. Local.

    `goes_round`: what lies at the other end of axis 0 is there, too.
    """
    name, given = step.filter, step.parameters
    if name == EXPRESSION and "threshold_otsu" in str(given.get(EXPRESSION)):
        return "its expression asks for a threshold of the whole; make that a step of its own (threshold_otsu)"
    if name == "regionprops_table":
        others = sorted({*given.get("properties", ())} - {*ROWS})
        more = "is no sum" if len(others) == 1 else "are no sums"
        return f"{', '.join(others)} {more} over cells that could be added up slab by slab" if others else ""
    if name == "threshold_li":
        return "it is found by passes over all values, until they agree"
    if name in (*_ONE_CELL, "label", *THRESHOLDS):
        return ""
    if name not in filters.MODULES:
        return _reason(name)
    if not goes_round and _along(name, given, "mode", 0, ndim) in _WRAPS:
        return "its mode wraps axis 0 round, and so its first planes read the last ones"
    return _against_filter(name, given)


def _against_filter(name: str, given: Mapping[str, Any]) -> str:
    """Why a filter that is no threshold cannot be streamed."""
    if name.startswith("fourier_"):
        return "a spectrum hangs on all values along an axis"
    if name == "canny":
        return f"edges are followed as far as they go: {_WHOLE}"
    if name.startswith("binary_") and int(given.get("iterations", 1)) < 1:
        return f"it is repeated until nothing changes: {_WHOLE}"
    if name == "unsharp_mask" and not given.get("preserve_range"):
        return "its range is clipped by the signs of all values; preserve_range = true leaves it"
    return ""


def _reason(name: str) -> str:
    room = module_of(name).split(".")[1]
    return {
        "fourier": "a transform of a line needs all of it, and lines run along axis 0, too",
        "solve": "a solution hangs on all values",
        "resample": "its result has other cells than the input",
        "projections": "it goes through the volume along lines in other directions than slabs",
    }.get(room, _WHOLE)


def _along(name: str, given: Mapping[str, Any], key: str, axis: int, ndim: int) -> Any:
    """A parameter's entry for an axis; None if it is not given, or if the filter does not go along the axis."""
    own = given.get("axes", given.get("axis", -1) if name.endswith("1d") else None)
    axes = [*range(ndim)] if own is None else [a % ndim for a in (own if isinstance(own, list) else [own])]
    if axis not in axes:
        return None
    entry = given.get(key)
    return entry[axes.index(axis)] if isinstance(entry, list) else entry


def period_of(step: Step, axis: int, ndim: int) -> int:
    """Return of how many cells along an axis the first one read must be a multiple. Local.

    Sums then begin where those of the whole do.
    """
    name, given = step.filter, step.parameters
    key = _PERIODS.get(name)
    if key is None or (name == "threshold_local" and given.get("method", "gaussian") != "mean"):
        return 1
    is_along = _along(name, {**given, key: True}, key, axis, ndim)
    size = _along(name, {key: _DEFAULTS.get(key, 1), **given}, key, axis, ndim)
    return max(1, int(size)) if is_along else 1


def reach_of(step: Step, known: Rehearsed) -> tuple[int, ...]:
    """Return how far a step reads along each axis, on both sides. Local."""
    return (_repeated(step),) * len(known.reach) if step.filter.startswith("binary_") else known.reach


def _repeated(step: Step) -> int:
    """The reach of a repeated filter: on a few cells, repetitions end early."""
    origin, structure = step.parameters.get("origin", 0), step.parameters.get("structure")
    shift = max(abs(int(o)) for o in (origin if isinstance(origin, list) else [origin]))
    extent = max(np.shape(structure)) if structure is not None else 3
    times = int(step.parameters.get("iterations", 1)) * (2 if step.filter.endswith(("opening", "closing")) else 1)
    return times * (int(extent) // 2 + shift)
