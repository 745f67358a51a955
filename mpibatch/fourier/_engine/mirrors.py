"""Both halves of the transform of real values: SciPy computes one, and the other is its mirror image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mpibatch.fourier._engine.passes import half_of, passed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.fields.field import Field

__all__ = ["both_halves"]

Array = npt.NDArray[Any]


def both_halves(name: str, u: Field, axes: Sequence[int], sizes: Sequence[int], factor: Any, *, forward: bool) -> Field:
    """Return the complex transform of real values. Collective."""
    half = half_of(name, u, axes, sizes, factor, forward=forward)
    last, n = axes[-1], sizes[-1]
    mirror = half.copy() if len(axes) > 1 else half
    for axis in axes[:-1]:
        passed(name, mirror, axis, mirror.grid.shape[axis], mirror.dtype, _reverse, mirror)
    _settle(half, mirror, axes, n)

    def low(source: Array, target: Array, _: Any) -> None:
        target[:, : source.shape[1]] = source
        target[:, source.shape[1] :] = 0

    def high(source: Array, target: Array, _: Any) -> None:
        target[...] = 0
        target[:, n // 2 + 1 :] = np.conj(source[:, n - n // 2 - 1 : 0 : -1])

    result = passed(name, half, last, n, half.dtype, low)
    other = passed(name, mirror, last, n, half.dtype, high)
    box = result.box
    behind = max(0, min(box.shape[last], n // 2 + 1 - box.start[last]))
    cut = (slice(None),) * last + (slice(behind, None),)
    result.owned[cut] = other.owned[cut]
    return result


def _reverse(source: Array, target: Array, _: Any) -> None:
    """Place k goes to n - k, place 0 stays."""
    reverse = source[:, :0:-1].copy()
    target[:, :1] = source[:, :1]
    target[:, 1:] = reverse


def _settle(half: Field, mirror: Field, axes: Sequence[int], n: int) -> None:
    """Where both of a pair lie in this half, make the later one the conjugate of the first, as SciPy does. Local."""
    box, last = half.box, axes[-1]
    index = np.ix_(*(np.arange(low, high) for low, high in zip(box.start, box.stop, strict=True)))
    is_later: Any = True  # or the same
    for axis in sorted(axes[:-1], reverse=True):
        place = index[axis]
        other = -place % half.grid.shape[axis]
        is_later = (place > other) | ((place == other) & is_later)
    chosen = np.broadcast_to(is_later & ((index[last] == 0) | (2 * index[last] == n)), box.shape)
    half.owned[chosen] = np.conj(mirror.owned[chosen])
