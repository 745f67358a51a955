"""Where a frame stands out of its noise: the matched filter, a threshold, and the labels of what is above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.catalog._loops import detection as loops

if TYPE_CHECKING:
    from mpibatch.apps.catalog.background import Background
    from mpibatch.fields.field import Field

__all__ = ["Detection", "detect"]

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Detection:
    """What a frame has above its background, and what of it is significant.

    Attributes
    ----------
    value : Field
        The frame less its background, f4; NaN where nothing is known.
    signal : Field
        What the threshold is compared with, f4: `value` filtered, in its units; with a map of noise, over its noise.
    noise : Field or float
        The noise of `value`.
    threshold : float
        Of the signal.
    labels : Field
        The objects: pixels above the threshold that touch one another, corners included.
    count : int
        How many objects there are.
    """

    value: Field
    signal: Field
    noise: Field | float
    threshold: float
    labels: Field
    count: int


def detect(
    frame: Field, background: Background, kernel: Values | None, threshold: float, *, is_local: bool = False
) -> Detection:
    """Return what stands out by `threshold` times the noise. Collective.

    With `is_local` this is the noise of each pixel, and the filter is weighted by it: the signal is
    Σ k v / σ² over the root of Σ k² / σ², the likelihood of a source of the kernel's shape. Else the noise is the
    median over the frame, and the filter that of SExtractor: pixels outside of the frame, or missing, count as 0.
    """
    core = np.ones((1, 1), np.float32) if kernel is None else np.ascontiguousarray(kernel, np.float32)
    value = frame.like()
    np.subtract(frame.owned, background.levels().owned, out=value.owned)
    missing = np.isnan(value.owned)
    noise: Field | float = background.noise
    if is_local:
        noise = background.noises()
        with np.errstate(divide="ignore"):
            weight = np.where(missing | ~(noise.owned > 0), np.float32(0), 1 / (noise.owned * noise.owned))
        signal = _correlated(value, np.where(weight > 0, value.owned * weight, np.float32(0)), core)
        loops.weigh(signal.owned, _correlated(value, weight, core * core).owned)
        limit = threshold
    else:
        limit = threshold * background.noise
        signal = _correlated(value, np.where(missing, np.float32(0), value.owned), core)
    significant = frame.grid.empty("?")
    np.greater(signal.owned, np.float32(limit), out=significant.owned)
    significant.owned[missing] = False
    labels, count = mb.label(significant, np.ones((3, 3)))
    return Detection(value, signal, noise, limit, labels, count)


def _correlated(u: Field, values: Values, core: Values) -> Field:
    """The correlation of values with a kernel; of the frame's outside with zeros. Collective."""
    around = u.like(halo=[n // 2 for n in core.shape])
    around.owned[...] = values
    mb.exchange(around, mode="constant")
    out = u.like()
    if out.owned.size:
        loops.correlate(around.padded, core, out.owned)
    return out
