"""Plain bytes without a header, with a description: ``scan.raw::dtype=u2,shape=512x512x100,offset=1024``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import whole_name
from mpibatch.io.formats.flat.arrays import Flat, reversed_view
from mpibatch.io.formats.raw_values import read
from mpibatch.io.formats.source import numeric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.io.formats.source import Source

__all__ = ["KEYS", "description_of", "inspect", "is_description", "read"]

KEYS = ("dtype", "shape", "offset", "order", "byteorder")
_SHAPE = "write it as in FILE::dtype=u2,shape=100x512x512,offset=0,order=C,byteorder=little"


def is_description(dataset: str | None) -> bool:
    """Whether a text in a dataset's place describes plain bytes. Local."""
    keys = {item.partition("=")[0].strip() for item in (dataset or "").split(",")}
    return {"dtype", "shape"} <= keys <= set(KEYS)


def description_of(path: str, given: Mapping[str, Any]) -> str:
    """Return the text for values by key; `shape` may be a sequence. Local. UsageError."""
    words = dict(given)
    if strange := [key for key in words if key not in KEYS]:
        raise UsageError(f"raw= has the key {strange[0]!r} for {path!r}; the keys are {', '.join(KEYS)}")
    if missing := [key for key in ("dtype", "shape") if key not in words]:
        raise UsageError(f"{path!r} is described without {' and '.join(missing)}; plain bytes need both")
    shape = words["shape"]
    if not isinstance(shape, str):
        words["shape"] = "x".join(map(str, np.atleast_1d(shape)))
    words["dtype"] = words["dtype"] if isinstance(words["dtype"], str) else np.dtype(words["dtype"]).str
    return ",".join(f"{key}={words[key]}" for key in KEYS if key in words)


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what is described, and whether the file is long enough for it. Local."""
    name = whole_name(path, dataset or "")
    given = dict(item.partition("=")[::2] for item in (dataset or "").replace(" ", "").split(","))
    order, byteorder = given.get("order", "C").upper(), given.get("byteorder", "")
    dtype = numeric(given["dtype"])
    try:
        shape, offset = [int(length) for length in given["shape"].split("x")], int(given.get("offset", 0))
    except ValueError:
        shape, offset = [], 0
    if dtype is None or not shape or min(shape) < 1 or offset < 0 or order not in "CF":
        raise UsageError(f"{name!r} does not describe plain bytes; {_SHAPE}")
    if byteorder not in ("", "little", "big"):
        raise UsageError(f"{name!r} has byteorder {byteorder!r}; give little or big")
    if byteorder:
        dtype = dtype.newbyteorder("<" if byteorder == "little" else ">")
    stored = tuple(shape if order == "C" else shape[::-1])
    view = reversed_view(stored) if order == "F" else None
    return Flat(path, "raw", stored, dtype, offset, dataset=dataset or "", view=view).source()
