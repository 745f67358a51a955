"""The serial oracles: what NumPy, scipy and scikit-image say of the whole array. Written once, used by all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# NumPy's names for scipy.ndimage's boundary modes.
PAD_MODES = {
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "mirror": "reflect",
    "nearest": "edge",
    "wrap": "wrap",
    "grid-wrap": "wrap",
    "constant": "constant",
    "grid-constant": "constant",
}


def padded(
    array: npt.NDArray, widths: Sequence[tuple[int, int]], modes: Sequence[str], cval: float = 0.0
) -> npt.NDArray:
    """The array with `widths` cells around its first axes, one axis after the other, by NumPy."""
    for axis, (width, mode) in enumerate(zip(widths, modes, strict=True)):
        pad = [(0, 0)] * array.ndim
        pad[axis] = width
        extra = {"constant_values": cval} if PAD_MODES[mode] == "constant" else {}
        array = np.pad(array, pad, mode=PAD_MODES[mode], **extra)
    return array


def outside(index: int, cells: int, mode: str) -> int | None:
    """The cell that `index` stands for on an axis of `cells` cells; None where there is none."""
    source = int(padded(np.arange(cells), [(100, 100)], [mode], -1)[index + 100])
    return None if source < 0 else source


def by_component(function: Callable[[npt.NDArray], npt.NDArray], array: npt.NDArray, ndim: int) -> npt.NDArray:
    """`function` of each component alone; components are the axes after the first `ndim`."""
    flat = array.reshape(*array.shape[:ndim], -1)
    parts = [function(np.ascontiguousarray(flat[..., k])) for k in range(flat.shape[-1])]
    return np.stack(parts, axis=-1).reshape(array.shape)


def as_truths(array: npt.NDArray) -> npt.NDArray:
    """Bool with bytes 0 and 1 only: scipy's filters leave other numbers in arrays of bool."""
    return array.view(np.uint8) != 0 if array.dtype == np.bool_ else array
