"""NumPy's npy files, in C or in Fortran order."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import no_dataset
from mpibatch.io.formats.flat.arrays import Flat, Header, head_of, reversed_view
from mpibatch.io.formats.raw_values import read
from mpibatch.io.formats.source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["inspect", "read"]

MOST = 10_000  # characters of a header: NumPy's own limit


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what a file holds. Local."""
    no_dataset(path, dataset, "npy")
    with Header(path, "npy"):
        about, offset = _header(head_of(path, 12 + MOST))
        dtype, shape = np.dtype(about["descr"]), tuple(map(int, about["shape"]))
        if dtype.hasobject:
            raise UsageError(f"cannot read {path!r}: it holds Python objects; save an array of numbers")
        if dtype.names:
            return Source(path, "npy", "", shape, "compound")
        if about["fortran_order"] is True and len(shape) > 1:
            return Flat(path, "npy", shape[::-1], dtype, offset, view=reversed_view(shape[::-1])).source()
        return Flat(path, "npy", shape, dtype, offset).source()


def _header(head: bytes) -> tuple[dict[str, Any], int]:
    """What the header says, and where it ends."""
    version, wide = head[6:8], 2 if head[6:7] == b"\1" else 4
    if version not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError(f"its version {tuple(version)} is unknown")
    begin = 8 + wide
    length = int.from_bytes(head[8:begin], "little")
    text = head[begin : begin + length]
    if len(text) < length or length > MOST:
        raise ValueError(f"its header has {len(text)} of {length} bytes, and at most {MOST} are read")
    about = ast.literal_eval(text.decode("utf-8" if version == b"\3\0" else "latin1").strip())
    if not isinstance(about, dict) or set(about) != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header does not tell dtype, order and shape")
    if not isinstance(about["shape"], tuple) or not isinstance(about["fortran_order"], bool):
        raise ValueError("its header does not tell a shape and an order")
    return about, begin + length
