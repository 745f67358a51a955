"""MRC and CCP4 maps of electron microscopy, in either byte order."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import no_dataset
from mpibatch.io.formats.flat.arrays import Flat, Header, head_of, linear
from mpibatch.io.formats.raw_values import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.io.formats.source import Source

__all__ = ["inspect", "read"]

HEADER = 1024
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}
_ORDERS = {0x44: "<", 0x11: ">"}  # the machine stamp's first byte


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what a map holds: z, y, x, or y, x of a single image; sizes of cells are in Å. Local."""
    no_dataset(path, dataset, "MRC")
    with Header(path, "MRC"):
        head = head_of(path, HEADER)
        order = _ORDERS.get(head[212], "")
        # Some programs leave the stamp out: the number of a mode is small in the right order only.
        order = order or next(o for o in "<>" if 0 <= struct.unpack_from(f"{o}i", head, 12)[0] <= 101)
        counts, mode = struct.unpack_from(f"{order}3i", head), struct.unpack_from(f"{order}i", head, 12)[0]
        samples = struct.unpack_from(f"{order}3i", head, 28)
        lengths = struct.unpack_from(f"{order}3f", head, 40)
        axes = struct.unpack_from(f"{order}3i", head, 64)
        group, extended = struct.unpack_from(f"{order}2i", head, 88)
        origin = struct.unpack_from(f"{order}3f", head, 196)
        if mode not in _DTYPES:
            raise UsageError(f"cannot read {path!r}: its values are of MRC's mode {mode}; convert it to mode 2 (f4)")
        if min(counts) < 1 or extended < 0:
            raise ValueError(f"it has {counts} cells, and {extended} bytes of header behind the first")
        axes = axes if sorted(axes) == [1, 2, 3] else (1, 2, 3)
        names = ["xyz"[axis - 1] for axis in reversed(axes)]
        sizes = {"xyz"[n]: lengths[n] / samples[n] if samples[n] > 0 else 0.0 for n in range(3)}
        starts = {"xyz"[n]: origin[n] for n in range(3)}
        stored = counts[::-1]
        if 401 <= group <= 630:
            deep = samples[2]
            if deep < 1 or stored[0] % deep:
                raise ValueError(f"it is a stack of volumes of {deep} planes with {stored[0]} planes in all")
            stored, names = (stored[0] // deep, deep, *stored[1:]), ["volume", *names]
            sizes["volume"], starts["volume"] = 1.0, 0.0
        elif group == 0 and stored[0] == 1:
            stored, names = stored[1:], names[1:]
        grid = linear(names, [sizes[n] for n in names], [starts[n] for n in names], "angstrom")
        dtype = np.dtype(order + _DTYPES[mode])
        return Flat(path, "mrc", stored, dtype, HEADER + extended, grid=grid or _named(names)).source()


def _named(names: Sequence[str]) -> dict[str, object]:
    return linear(names, [1.0] * len(names), [0.0] * len(names), "")
