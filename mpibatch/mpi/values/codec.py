"""Values as bytes, and back: numbers, text, bytes, containers, NumPy's arrays, and records of mpibatch. No pickle.

What comes from another rank cannot name code to be run: a record is of a class of mpibatch that is loaded already, a
dataclass or a named tuple, and only its fields are sent. Anything else is refused where it is to be sent: also
arrays of classes of their own, whose masks or units would be lost, and values that hold themselves.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import struct
import sys
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    _Put = Callable[[bytes], Any]
    _Writer = Callable[[Any, _Put, int], None]

__all__ = ["decode", "encode"]

_PACKAGE = "mpibatch"
_SIZE = struct.Struct("<Q")
_REAL = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")
_DEPTH = 200  # lists in lists: fewer than Python's stack has room for, on the sender and on all who read


def encode(value: Any) -> bytes:
    """Return a value as bytes. Local. UsageError for what is no plain value."""
    parts: list[bytes] = []
    _write(value, parts.append, 0)
    return b"".join(parts)


def decode(data: bytes | memoryview) -> Any:
    """Return the value of bytes that `encode` made. Local. ValueError if it did not."""
    view = memoryview(data)
    try:
        value, end = _read(view, 0)
    except (IndexError, struct.error, TypeError, KeyError, RecursionError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"a message between ranks holds no value: {error}") from error
    if end != len(view):
        raise ValueError(f"a message between ranks holds {len(view) - end} bytes behind its value")
    return value


def _sized(tag: bytes, data: bytes) -> bytes:
    return tag + _SIZE.pack(len(data)) + data


def _write(value: Any, put: _Put, depth: int) -> None:
    kind = type(value)
    if leaf := _LEAVES.get(kind):
        put(leaf(value))
    elif depth == _DEPTH:
        raise UsageError(
            f"a value that holds itself, or is nested more than {_DEPTH} levels deep, cannot be sent to other ranks; "
            "send its parts"
        )
    elif writer := _NESTED.get(kind):
        writer(value, put, depth + 1)
    elif kind in (np.ndarray, np.memmap) or isinstance(value, np.generic | np.dtype):
        _write_numpy(value, put, depth + 1)
    elif isinstance(value, np.ndarray):
        raise UsageError(
            f"an array of {kind.__module__}.{kind.__qualname__} cannot be sent to other ranks: it is more than its "
            "values; send np.asarray of it, and what else it has, such as its mask"
        )
    elif isinstance(value, Enum | PurePath) or dataclasses.is_dataclass(value) or hasattr(kind, "_fields"):
        _write_record(value, put, depth + 1)
    else:
        raise UsageError(
            f"a value of {kind.__module__}.{kind.__qualname__} cannot be sent to other ranks; send numbers, text, "
            "arrays, or lists and dicts of these; an mpi4py communicator of your own sends others, by pickle"
        )


def _write_many(tag: bytes) -> _Writer:
    def write(values: Iterable[Any], put: _Put, depth: int) -> None:
        items = [*values]
        put(tag + _SIZE.pack(len(items)))
        for item in items:
            _write(item, put, depth)

    return write


def _write_bounds(tag: bytes) -> _Writer:
    def write(value: Any, put: _Put, depth: int) -> None:
        put(tag)
        _write((value.start, value.stop, value.step), put, depth)

    return write


def _write_date(value: Any, put: _Put, depth: int) -> None:
    put(b"@")
    _write((type(value).__name__, value.isoformat()), put, depth)


def _write_dict(values: dict[Any, Any], put: _Put, depth: int) -> None:
    put(b"d" + _SIZE.pack(len(values)))
    for key, value in values.items():
        _write(key, put, depth)
        _write(value, put, depth)


def _write_numpy(value: Any, put: _Put, depth: int) -> None:
    dtype = value if isinstance(value, np.dtype) else value.dtype
    if dtype.hasobject:
        raise UsageError("an array of Python objects cannot be sent to other ranks; give it a dtype of numbers or text")
    descr = np.lib.format.dtype_to_descr(dtype)
    if isinstance(value, np.dtype):
        put(b"D")
        _write(descr, put, depth)
    elif isinstance(value, np.generic):
        put(b"g")
        _write(descr, put, depth)
        put(_sized(b"", value.tobytes()))
    else:
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        put(b"a")
        _write((descr, value.shape, order), put, depth)
        put(_sized(b"", value.tobytes(order)))


def _write_record(value: Any, put: _Put, depth: int) -> None:
    kind = type(value)
    if isinstance(value, PurePath):
        put(b"P")
        _write(str(value), put, depth)
        return
    if kind.__module__.partition(".")[0] != _PACKAGE or "<" in kind.__qualname__:
        raise UsageError(
            f"a value of {kind.__module__}.{kind.__qualname__} cannot be sent to other ranks; send its parts, as a dict"
        )
    put(b"r")
    if isinstance(value, Enum):
        fields: dict[str, Any] = {"name": value.name}
    elif dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        fields = {name: getattr(value, name) for name in kind._fields}
    _write((kind.__module__, kind.__qualname__, fields), put, depth)


_LEAVES: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: lambda value: _sized(b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)),
    float: lambda value: b"f" + _REAL.pack(value),
    complex: lambda value: b"c" + _COMPLEX.pack(value.real, value.imag),
    # Names of files that are not UTF-8 are text with surrogates.
    str: lambda value: _sized(b"s", value.encode("utf-8", "surrogatepass")),
    bytes: lambda value: _sized(b"b", value),
    bytearray: lambda value: _sized(b"b", bytes(value)),
}
_NESTED: dict[type, _Writer] = {
    list: _write_many(b"l"),
    tuple: _write_many(b"t"),
    set: _write_many(b"S"),
    frozenset: _write_many(b"Z"),
    dict: _write_dict,
    **dict.fromkeys((dt.datetime, dt.date, dt.time), _write_date),  # which TOML has
    slice: _write_bounds(b":"),
    range: _write_bounds(b"R"),
}
_COLLECTIONS: dict[bytes, Callable[[list[Any]], Any]] = {b"l": list, b"t": tuple, b"S": set, b"Z": frozenset}


def _read(view: memoryview, at: int) -> tuple[Any, int]:
    """The value at a place, and where the next begins."""
    tag, at = bytes(view[at : at + 1]), at + 1
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag in b"fc" and tag:
        form = _REAL if tag == b"f" else _COMPLEX
        numbers = form.unpack_from(view, at)
        return (numbers[0] if tag == b"f" else complex(*numbers)), at + form.size
    if tag in (b"i", b"s", b"b"):
        data, at = _bytes(view, at)
        if tag == b"b":
            return data, at
        return (
            int.from_bytes(data, "little", signed=True) if tag == b"i" else data.decode("utf-8", "surrogatepass")
        ), at
    if tag in _COLLECTIONS or tag == b"d":
        return _read_many(tag, view, at)
    if tag in _BUILT:
        parts, at = _read(view, at)
        return _BUILT[tag](parts), at
    if tag in (b"a", b"g"):
        return _read_numpy(tag, view, at)
    raise ValueError(f"a message between ranks has a value of kind {tag!r}, which is unknown")


def _bytes(view: memoryview, at: int) -> tuple[bytes, int]:
    (size,) = _SIZE.unpack_from(view, at)
    at += _SIZE.size
    if size > len(view) - at:
        raise ValueError(f"a message between ranks ends {size - len(view) + at} bytes too early")
    return bytes(view[at : at + size]), at + size


def _read_many(tag: bytes, view: memoryview, at: int) -> tuple[Any, int]:
    (count,) = _SIZE.unpack_from(view, at)
    at += _SIZE.size
    if count > len(view) - at:
        raise ValueError("a message between ranks ends before its values")
    items = []
    for _ in range(count * (2 if tag == b"d" else 1)):
        item, at = _read(view, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if tag == b"d" else _COLLECTIONS[tag](items)), at


def _read_numpy(tag: bytes, view: memoryview, at: int) -> tuple[Any, int]:
    about, at = _read(view, at)
    data, at = _bytes(view, at)
    if tag == b"g":
        about = (about, (), "C")
    descr, shape, order = about
    values = np.frombuffer(data, _dtype(descr)) if data else np.empty(0, _dtype(descr))
    if not data and _dtype(descr).itemsize == 0:
        values = np.zeros(int(np.prod(shape)), _dtype(descr))
    array = values.reshape(shape, order=order).copy(order=order)
    return (array[()] if tag == b"g" else array), at


def _dtype(descr: Any) -> np.dtype[Any]:
    dtype = np.lib.format.descr_to_dtype(descr)
    if dtype.hasobject:
        raise ValueError("a message between ranks has an array of Python objects")
    return dtype


def _record(parts: Any) -> Any:
    module, name, fields = parts
    kind: Any = sys.modules[module] if module.partition(".")[0] == _PACKAGE else None
    for word in name.split("."):
        kind = getattr(kind, word)
    # What an attribute of a module may also be: another package's, or a function.
    if not isinstance(kind, type) or (kind.__module__, kind.__qualname__) != (module, name):
        raise ValueError(f"a message between ranks names {module}.{name}, which is no record of {_PACKAGE}")
    if issubclass(kind, Enum):
        return kind[fields["name"]]
    if dataclasses.is_dataclass(kind):
        value = object.__new__(kind)
        if {*fields} != {field.name for field in dataclasses.fields(kind)}:
            raise ValueError(f"a message between ranks has other fields than {module}.{name}")
        for key, field in fields.items():
            object.__setattr__(value, key, field)
        return value
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return kind(**fields)
    raise ValueError(f"a message between ranks names {module}.{name}, which is no record of {_PACKAGE}")


_DATES: dict[str, Callable[[str], Any]] = {
    "datetime": dt.datetime.fromisoformat, "date": dt.date.fromisoformat, "time": dt.time.fromisoformat,
}  # fmt: skip
_CONSTANTS: dict[bytes, Any] = {b"N": None, b"T": True, b"F": False}
_BUILT: dict[bytes, Callable[[Any], Any]] = {
    b":": lambda parts: slice(*parts),
    b"R": lambda parts: range(*parts),
    b"@": lambda parts: _DATES[parts[0]](parts[1]),
    b"D": _dtype,
    b"P": Path,
    b"r": _record,
}
