"""Results of items as bytes, and back: numbers and arrays by name. Nothing is pickled."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ITEM", "MOST_BYTES", "RESULT", "TABLE", "Array", "Layout", "decoded", "digest", "encoded", "layout_of"]

Array = npt.NDArray[Any]
Layout = tuple[tuple[str, str, tuple[int, ...]], ...]  # name, dtype and shape of each value; shape () is a number

MOST_BYTES = (1 << 31) - 1
RESULT = "result"  # the name of what is returned without one
TABLE, ITEM = "items", "item"  # the table of all numbers, and its first column: names that are taken
LENGTH_BYTES = 4


def encoded(result: Any) -> bytes:
    """Return the bytes of what an item's function returned. Local. UsageError if it cannot be kept."""
    values = _named(result)
    if not values:
        return b""
    arrays = {name: _plain(name, value) for name, value in values.items()}
    size = sum(array.nbytes for array in arrays.values())
    if size > MOST_BYTES:
        raise UsageError(
            f"a result of {bytes_text(size)} was returned, and 2 GiB at most are kept; write it to a file of its own, "
            "and return its name's number, or less"
        )
    head = json.dumps([[name, array.dtype.str, array.shape] for name, array in arrays.items()]).encode()
    parts = [len(head).to_bytes(LENGTH_BYTES, "little"), head, *(array.tobytes() for array in arrays.values())]
    return b"".join(parts)


def layout_of(payload: bytes) -> Layout:
    """Return the names, dtypes and shapes in a payload, of which the first bytes are enough. Local."""
    if not payload:
        return ()
    length = int.from_bytes(payload[:LENGTH_BYTES], "little")
    return _layout(payload[LENGTH_BYTES : LENGTH_BYTES + length])


def decoded(payload: bytes) -> dict[str, Array]:
    """Return the values in a payload by name, as arrays; a number is one without axes. Local."""
    if not payload:
        return {}
    at = LENGTH_BYTES + int.from_bytes(payload[:LENGTH_BYTES], "little")
    values = {}
    for name, dtype, shape in layout_of(payload):
        count = math.prod(shape)
        values[name] = np.frombuffer(payload, dtype, count, at).reshape(shape)
        at += values[name].nbytes
    return values


def digest(payload: bytes) -> int:
    """Return a number of 64 bits that stands for these bytes. Local."""
    return int.from_bytes(hashlib.blake2b(payload, digest_size=8).digest(), "little")


@functools.lru_cache(maxsize=256)
def _layout(head: bytes) -> Layout:
    return tuple((name, dtype, tuple(shape)) for name, dtype, shape in json.loads(head))


def _named(result: Any) -> dict[str, Any]:
    if result is None:
        return {}
    if not isinstance(result, Mapping):
        return {RESULT: result}
    for name in result:
        if not isinstance(name, str) or not name or {*"/\0"} & {*name} or name in (ITEM, TABLE, "."):
            raise UsageError(
                f"a result has the name {name!r}; name values by texts without / and NUL, other than {ITEM!r} "
                f"and {TABLE!r}"
            )
    return dict(result)


def _plain(name: str, value: Any) -> Array:
    """A value as an array that any machine can read."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):  # ragged lists
        array = np.empty(0, object)
    kinds: Sequence[str] = "biufc"
    if array.dtype.kind not in kinds or array.dtype.itemsize > (16 if array.dtype.kind == "c" else 8):
        words = repr(value)
        raise UsageError(
            f"the result {name!r} is {words if len(words) <= 60 else words[:57] + '...'}; return numbers, or arrays of "
            "numbers (bool, integers and floats of up to 64 bits, complex of up to 128)"
        )
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")
