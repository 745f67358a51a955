"""Compiled loops over pixels: the correlation with a kernel, and the runs of labeled pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["correlate", "count_runs", "list_runs", "members", "weigh"]


@compiled
def correlate(padded: Any, kernel: Any, out: Any) -> None:
    """Set the correlation with a kernel, in f4 and term after term. padded: with the kernel's reach on each side."""
    width = out.shape[1]
    for j in range(out.shape[0]):
        row = out[j]
        row[:] = np.float32(0)
        for y in range(kernel.shape[0]):
            for x in range(kernel.shape[1]):
                factor, source = kernel[y, x], padded[j + y, x : x + width]
                for n in range(width):
                    row[n] += factor * source[n]


@compiled
def weigh(signal: Any, weight: Any) -> None:
    """Divide what was correlated with weights 1/σ² by its noise: the root of the weights' own correlation."""
    for j in range(signal.shape[0]):
        for i in range(signal.shape[1]):
            w = weight[j, i]
            signal[j, i] = signal[j, i] / np.float32(math.sqrt(w)) if w > 0 else np.float32(0)


@compiled
def count_runs(labels: Any) -> int:
    """Return how many runs of equal labels above 0 there are along rows."""
    count = 0
    for row in labels:
        before = 0
        for value in row:
            if value != before:
                count += value != 0
                before = value
    return count


@compiled
def list_runs(labels: Any, start: Any, runs: Any) -> None:
    """Set for each run its label, its row, and its first column and the one behind its last, in the whole frame."""
    n = -1
    for j in range(labels.shape[0]):
        before = 0
        for i in range(labels.shape[1]):
            value = labels[j, i]
            if value != before:
                if before:
                    runs[n, 3] = start[1] + i
                if value:
                    n += 1
                    runs[n, 0], runs[n, 1], runs[n, 2] = value, start[0] + j, start[1] + i
                before = value
        if before:
            runs[n, 3] = start[1] + labels.shape[1]


@compiled
def members(
    runs: Any, order: Any, width: int, start: Any, signal: Any, value: Any, noise: Any, places: Any, pixels: Any
) -> None:
    """Set raster indices in a frame of this width, and signal, value and noise, of the pixels of runs in some order.

    start: the block's first pixel. noise: of each pixel, or one for all.
    """
    n = 0
    for k in order:
        y = runs[k, 1] - start[0]
        for x in range(runs[k, 2], runs[k, 3]):
            i = x - start[1]
            places[n] = runs[k, 1] * width + x
            pixels[0, n], pixels[1, n] = signal[y, i], value[y, i]
            pixels[2, n] = noise[y, i] if noise.size > 1 else noise[0, 0]
            n += 1
