"""Kernels of the matched filter: SExtractor's usual one, Gaussians, and those of files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb

__all__ = ["kernel_of"]

Values = npt.NDArray[np.float32]

USUAL = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
WAYS = "give none, default, gauss:FWHM in pixels, or a file of numbers"
FWHM = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian, in standard deviations
FARTHEST = 3.0  # standard deviations


def kernel_of(text: str) -> Values | None:
    """Return the kernel that a text stands for; None: no filter. Local. UsageError, RunError.

    Its absolute values add up to 1.

    A file has a row of numbers a line; lines that begin with # or CONV are left out.
    """
    if text == "none":
        return None
    if text == "default":
        return _normal(np.array(USUAL), text)
    if text.startswith("gauss:"):
        return _normal(_gaussian(text), text)
    return _normal(_read(text), text)


def _gaussian(text: str) -> Any:
    try:
        sigma = float(text.removeprefix("gauss:")) / FWHM
    except ValueError:
        sigma = math.nan
    if not 0 < sigma < math.inf:
        raise mb.UsageError(f"the kernel {text} has no width; {WAYS}")
    at = np.arange(-math.ceil(FARTHEST * sigma), math.ceil(FARTHEST * sigma) + 1)
    profile = np.exp(-0.5 * (at / sigma) ** 2)
    return np.outer(profile, profile)


def _read(path: str) -> Any:
    rows: list[list[float]] = []
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                words = line.split("#")[0].replace(",", " ").split()
                if words and words[0] != "CONV":
                    rows.append([float(word) for word in words])
    except OSError as error:
        raise mb.RunError(f"the kernel {path} cannot be read: {error.strerror or error}; {WAYS}") from None
    except ValueError as error:
        raise mb.UsageError(f"the kernel {path} is no table of numbers ({error}); {WAYS}") from None
    if not rows or {len(row) for row in rows} != {len(rows[0])}:
        raise mb.UsageError(f"the kernel {path} has rows of different lengths, or none; give each as many numbers")
    return np.array(rows)


def _normal(kernel: Any, text: str) -> Values:
    if not all(n % 2 for n in kernel.shape):
        raise mb.UsageError(
            f"the kernel {text} has {kernel.shape[0]} × {kernel.shape[1]} numbers, so that no pixel is in its middle; "
            "give odd numbers of rows and columns"
        )
    total = np.abs(kernel).sum()
    if not 0 < total < math.inf:
        raise mb.UsageError(f"the kernel {text} has the sum {total}; give finite numbers that are not all 0")
    return np.asarray(kernel / total, np.float32)
