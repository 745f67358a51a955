"""openPMD 1.1: every dataset as a mesh of an iteration; one iteration, or one for each time of a series.

Meshes are virtual datasets, because openPMD's library refuses datasets that have dimension scales. One axis of
components makes a record whose components are "0", "1", ... A series has the meshes of all times only up to
`MOST` of them: they are many small objects, which rank 0 writes alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch import __version__
from mpibatch.io.conventions.variable import Variable, readable
from mpibatch.io.conventions.views import Packed, ascii_text, new_group, new_view, packed, set_missing, set_new

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GROUP", "MOST", "add"]

GROUP = "data"
MOST = 1024
COMPONENTS = 16  # of a record; more of them are no vector
_METERS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "nm": 1e-9, "km": 1e3}
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "ps": 1e-12, "fs": 1e-15}


def add(file: Any, variables: Sequence[Variable], times: Any = None, steps: Any = None) -> bool:
    """Add the group; False if there is nothing for it. Local. `times`, `steps`: those of a series."""
    meshes = [v for v in variables if _fits(v)]
    count = meshes[0].shape[0] if meshes and times is not None else 1
    if not meshes or count * sum(math.prod(v.components) for v in meshes) > MOST:
        return False
    set_missing(file, {
        "openPMD": ascii_text("1.1.0"),
        "openPMDextension": np.uint32(0),
        "basePath": ascii_text("/data/%T/"),
        "meshesPath": ascii_text("meshes/"),
        "iterationEncoding": ascii_text("groupBased"),
        "iterationFormat": ascii_text("/data/%T/"),
        "software": ascii_text("mpibatch"),
        "softwareVersion": ascii_text(__version__),
    })  # fmt: skip
    group = new_group(file, GROUP)
    at, unit = _values(times, np.arange(count, dtype="f8")), _unit(times)
    numbers = _values(steps, np.arange(count))
    numbers = numbers if len(np.unique(numbers)) == count and numbers.min() >= 0 else np.arange(count)
    gaps = np.diff(at, prepend=2 * at[0] - at[1]) if count > 1 else np.ones(1)
    records = [(v, file[v.name], packed(_record(v)), packed(_component(v))) for v in meshes]
    for n in range(count):
        iteration = new_group(group, str(numbers[n]))
        set_new(iteration, packed({"time": at[n], "dt": gaps[n], "timeUnitSI": unit}))
        inside = new_group(iteration, "meshes")
        for v, dataset, record, component in records:
            _mesh(inside, dataset, v, n, record, component)
    return True


def _fits(v: Variable) -> bool:
    return len(v.components) <= 1 and math.prod(v.components) <= COMPONENTS


def _record(v: Variable) -> dict[str, Any]:
    return {
        "geometry": ascii_text("cartesian"),
        "dataOrder": ascii_text("C"),
        "axisLabels": np.array([axis.encode("ascii", "backslashreplace") for axis in v.axes]),
        "gridSpacing": np.array(v.spacing, "f8"),
        "gridGlobalOffset": np.array(v.origin, "f8"),
        "gridUnitSI": np.float64(_METERS.get(v.units, 1.0)),
        "unitDimension": np.zeros(7),  # of the values, and not known
        "timeOffset": np.float64(0),
    }


def _component(v: Variable) -> dict[str, Any]:
    return {"unitSI": np.float64(1), "position": np.zeros(len(v.axes))}


def _mesh(parent: Any, dataset: Any, v: Variable, n: int, record: Packed, component: Packed) -> None:
    dtype = readable(v.dtype)
    time, time_count = ((n,), (1,)) if v.timed else ((), ())
    start, count = (*time, *(0 for _ in v.cells)), (*time_count, *v.cells)
    if not v.components:
        mesh = new_view(parent, v.label, dataset, v.cells, dtype, start, count)
        set_new(mesh, record + component)
        return
    vector = new_group(parent, v.label)
    set_new(vector, record)
    for c in range(v.components[0]):
        set_new(new_view(vector, str(c), dataset, v.cells, dtype, (*start, c), (*count, 1)), component)


def _values(table: Any, default: Any) -> Any:
    return table[...] if getattr(table, "shape", None) == default.shape else default


def _unit(times: Any) -> np.float64:
    units = times.attrs.get("units", "") if hasattr(times, "attrs") else ""
    return np.float64(_SECONDS.get(str(units), 1.0))
