"""Compression by name: "gzip", "zstd:3" ..., as the filters of an HDF5 dataset. Knows numbers only, and loads nothing.

Filters are applied to one chunk after the other when it is written, in the order given here, and undone in the reverse
order. Codes are those that The HDF Group registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["GZIP", "NAMES", "SHUFFLE", "Filter", "filter_name", "filters_of", "normal_compression"]

GZIP, SHUFFLE = 1, 2
NAMES = {
    GZIP: "gzip", SHUFFLE: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 307: "bzip2",
    32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32017: "sz",
    32018: "fcidecomp",    32024: "sz3", 32026: "blosc2", 32028: "sperr", 32033: "htj2k",
}  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """One filter: its registered code and the values that control it."""

    code: int
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class _LevelRange:
    """Of a compression that can be asked for, none if it has range(0)."""

    levels: range
    usual: int


@dataclass(frozen=True)
class _Compression(_LevelRange):
    """A compression of HDF5."""

    code: int
    values: Callable[[int], tuple[int, ...]]
    # Bytes of equal weight brought together: of measured values the high ones hardly differ.
    shuffled: bool = True


_CODECS = {
    "gzip": _Compression(range(10), 4, GZIP, lambda level: (level,)),
    "zstd": _Compression(range(1, 23), 3, 32015, lambda level: (level,)),
    # 0: the size of its blocks is its own choice.
    "lz4": _Compression(range(0), 0, 32004, lambda level: (0,)),
    # The first four are filled in by the filter; then level, byte shuffle of its own, and the codec blosclz.
    "blosc2": _Compression(range(10), 5, 32026, lambda level: (0, 0, 0, 0, level, 1, 0), shuffled=False),
}
_GZIP = _LevelRange(_CODECS["gzip"].levels, _CODECS["gzip"].usual)
_BY_FORMAT: dict[str, Mapping[str, _LevelRange]] = {
    "HDF5": _CODECS,
    "Zarr": {"blosc": _LevelRange(range(10), 5), "gzip": _GZIP, "zstd": _LevelRange(range(1, 23), 3)},
    "TIFF": {"gzip": _GZIP},
}


def normal_compression(text: str | None, kind: str = "HDF5") -> str | None:
    """Return a compression with its level, "gzip" as "gzip:4"; None for none. Local.

    UsageError if it is not one of "HDF5", "Zarr" or "TIFF".
    """
    if text is None or text == "":
        return None
    name, _, level = str(text).partition(":")
    codecs = _BY_FORMAT[kind]
    if name not in codecs:
        raise UsageError(f"compression {text!r} is unknown to {kind}{nearest(name, codecs)}")
    codec = codecs[name]
    if not level:
        return f"{name}:{codec.usual}" if codec.levels else name
    if not level.isdecimal() or int(level) not in codec.levels:
        known = f"levels {codec.levels[0]} to {codec.levels[-1]}" if codec.levels else "no levels"
        raise UsageError(f"compression {text!r} is not valid: {name} has {known}; give {name} alone, or a level")
    return f"{name}:{int(level)}"


def filters_of(text: str | None, itemsize: int) -> tuple[Filter, ...]:
    """Return the filters of a compression for values of `itemsize` bytes. Local."""
    normal = normal_compression(text)
    if normal is None:
        return ()
    name, _, level = normal.partition(":")
    codec = _CODECS[name]
    packed = Filter(codec.code, codec.values(int(level or 0)))
    return (Filter(SHUFFLE, (itemsize,)), packed) if codec.shuffled and itemsize > 1 else (packed,)


def filter_name(code: int) -> str:
    """Return a filter's name and code for messages. Local."""
    return f"{NAMES.get(code, 'unknown')} (number {code})"
