"""Groups, small datasets and virtual datasets without times in them, so that equal files have equal bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Packed", "ascii_text", "dimension", "new_array", "new_group", "new_view", "packed", "set_missing", "set_new",
]  # fmt: skip

Values = npt.NDArray[Any]
Packed = list[tuple[bytes, Any, Any, Values]]  # attributes as HDF5 takes them: name, type, space, values


def ascii_text(text: str) -> np.bytes_:
    """Return text that h5py writes with a fixed length, as VTK and openPMD want it. Local."""
    return np.bytes_(text.encode("ascii", "backslashreplace") or b"\0")


def set_missing(owner: Any, attrs: Mapping[str, Any]) -> None:
    """Set those attributes that are not there: the user's own go before. Local."""
    for name, value in attrs.items():
        if name not in owner.attrs:
            owner.attrs[name] = value


def packed(attrs: Mapping[str, Any]) -> Packed:
    """Return numbers and fixed-length text ready for `set_new`. Local."""
    arrays = {name.encode(): np.asarray(value) for name, value in attrs.items()}
    return [(name, h5py.h5t.py_create(a.dtype), _space(a.shape), a) for name, a in arrays.items()]


def set_new(owner: Any, attrs: Packed) -> None:
    """Set attributes of a new object: many times as fast as one by one through h5py's mapping. Local."""
    for name, dtype, space, values in attrs:
        h5py.h5a.create(owner.id, name, dtype, space).write(values)


def new_group(parent: Any, name: str, attrs: Mapping[str, Any] | None = None) -> Any:
    """Make a group that remembers the order of its members, without which netCDF-4 does not append. Local."""
    plan = _timeless(h5py.h5p.GROUP_CREATE)
    plan.set_link_creation_order(h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED)
    group = h5py.Group(h5py.h5g.create(parent.id, name.encode(), gcpl=plan))
    set_missing(group, attrs or {})
    return group


def new_array(parent: Any, name: str, values: Values, attrs: Mapping[str, Any] | None = None) -> Any:
    """Make a small contiguous dataset. Local."""
    plan = _timeless(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    space = h5py.h5s.create_simple(values.shape)
    made = h5py.Dataset(h5py.h5d.create(parent.id, name.encode(), h5py.h5t.py_create(values.dtype), space, plan))
    made[...] = values
    set_missing(made, attrs or {})
    return made


def dimension(parent: Any, name: str, extent: int) -> Any:
    """Make a dataset that stands for a dimension without coordinates: it has no values, and takes no room. Local."""
    plan = _timeless(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple((extent,))
    made = h5py.Dataset(h5py.h5d.create(parent.id, name.encode(), h5py.h5t.IEEE_F32BE, space, plan))
    # netCDF's own words, by which its libraries know that there is nothing to read.
    h5py.h5ds.set_scale(made.id, f"This is a netCDF dimension but not a netCDF variable.{extent:>10}".encode())
    return made


def new_view(
    parent: Any,
    name: str,
    source: Any,
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    start: Sequence[int] = (),
    count: Sequence[int] = (),
) -> Any:
    """Make a virtual dataset of the cells of `source` in a box (default: all), in C order, and of any shape. Local.

    HDF5 converts the values on reading. The source is named within the file, so that a renamed file is as good.
    """
    cells = h5py.h5s.create_simple(source.shape)
    if count:
        cells.select_hyperslab(tuple(start), tuple(count))
    plan = _timeless(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple(tuple(shape))
    plan.set_virtual(space, b".", source.name.replace("%", "%%").encode(), cells)  # % counts blocks
    return h5py.Dataset(h5py.h5d.create(parent.id, name.encode(), h5py.h5t.py_create(np.dtype(dtype)), space, plan))


def _space(shape: tuple[int, ...]) -> Any:
    return h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)


def _timeless(kind: Any) -> Any:
    plan = h5py.h5p.create(kind)
    plan.set_obj_track_times(False)
    # Attributes stay in the object's header: an index of them apart costs several times the room and the seconds.
    plan.set_attr_phase_change(32, 16)
    return plan
