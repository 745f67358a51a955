"""What a generated function takes, in two arrays: whole numbers, addresses of memory among them, and floats.

An argument of its own is unpacked by code that is compiled with each function; for a kernel over nine fields that would
be more code than the kernel's own, and most of the time of a call on few cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

__all__ = ["Parameter", "address_of", "addresses", "numbers", "type_name", "unpacking"]

Parameter = tuple[str, str]  # its name, and "int", "float", "bool" or the type of the numbers in memory


def type_name(dtype: np.dtype[Any]) -> str:
    """Return the name that compiled text has for the numbers in memory; truth values are bytes there. Local."""
    return "U1" if dtype.kind == "b" else dtype.str[1:].upper()


def unpacking(parameters: Iterable[Parameter]) -> list[str]:
    """Return the lines that name what comes packed. Local."""
    lines, at = [], {"ints": 0, "floats": 0}
    for name, kind in parameters:
        array = "floats" if kind == "float" else "ints"
        text = f"{array}[{at[array]}]"
        at[array] += 1
        lines.append(f"{name} = {text if kind in ('int', 'float') else _converted(text, kind)}")
    return lines


def _converted(text: str, kind: str) -> str:
    return f"({text} != 0)" if kind == "bool" else f"memory({text}, {kind})"


def numbers(parameters: Sequence[Parameter], values: Sequence[Any]) -> tuple[list[int], list[float]]:
    """Return what of some numbers is whole, and what are floats. Local."""
    pairs = [(kind, value) for (_, kind), value in zip(parameters, values, strict=True)]
    whole = [int(value) for kind, value in pairs if kind != "float"]
    return whole, [float(value) for kind, value in pairs if kind == "float"]


def addresses(values: Iterable[Any]) -> list[int]:
    """Return whole numbers, and where memory begins, which must live on elsewhere. Local."""
    return [address_of(value) if isinstance(value, np.ndarray) else value for value in values]


def address_of(array: npt.NDArray[Any]) -> int:
    """Return where an array's numbers begin. Local."""
    address: int = array.__array_interface__["data"][0]
    return address
