"""The bare compiled loops that stencil sweeps are timed against; they fill no halo."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def bare_heat(u: Any, out: Any, k: Any) -> None:
    for z in range(u.shape[0] - 2):
        for y in range(u.shape[1] - 2):
            for x in range(u.shape[2] - 2):
                around = u[z, y + 1, x + 1] + u[z + 2, y + 1, x + 1] + u[z + 1, y, x + 1] + u[z + 1, y + 2, x + 1]
                around += u[z + 1, y + 1, x] + u[z + 1, y + 1, x + 2]
                c = u[z + 1, y + 1, x + 1]
                out[z + 1, y + 1, x + 1] = c + k * (around - 6.0 * c)


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def bare_heat2d(u: Any, out: Any, k: Any) -> None:
    for y in range(u.shape[0] - 2):
        for x in range(u.shape[1] - 2):
            c = u[y + 1, x + 1]
            out[y + 1, x + 1] = c + k * (u[y, x + 1] + u[y + 2, x + 1] + u[y + 1, x] + u[y + 1, x + 2] - 4.0 * c)


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def bare_acoustic(u: Any, out: Any, m: Any, c: Any) -> None:
    f = np.float32
    for z in range(m.shape[0]):
        for y in range(m.shape[1]):
            for x in range(m.shape[2]):
                v = u[z + 4, y + 4, x + 4]
                s = c[0] * v
                p = u[z + 3, y + 4, x + 4] + u[z + 5, y + 4, x + 4] + u[z + 4, y + 3, x + 4] + u[z + 4, y + 5, x + 4]
                s += c[1] * (p + u[z + 4, y + 4, x + 3] + u[z + 4, y + 4, x + 5])
                p = u[z + 2, y + 4, x + 4] + u[z + 6, y + 4, x + 4] + u[z + 4, y + 2, x + 4] + u[z + 4, y + 6, x + 4]
                s += c[2] * (p + u[z + 4, y + 4, x + 2] + u[z + 4, y + 4, x + 6])
                p = u[z + 1, y + 4, x + 4] + u[z + 7, y + 4, x + 4] + u[z + 4, y + 1, x + 4] + u[z + 4, y + 7, x + 4]
                s += c[3] * (p + u[z + 4, y + 4, x + 1] + u[z + 4, y + 4, x + 7])
                p = u[z, y + 4, x + 4] + u[z + 8, y + 4, x + 4] + u[z + 4, y, x + 4] + u[z + 4, y + 8, x + 4]
                s += c[4] * (p + u[z + 4, y + 4, x] + u[z + 4, y + 4, x + 8])
                out[z + 4, y + 4, x + 4] = f(2.0) * v - out[z + 4, y + 4, x + 4] + c[5] * s * m[z, y, x]


@numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
def bare_prk(a: Any, b: Any, w: Any) -> None:
    for y in range(a.shape[0] - 4):
        for x in range(a.shape[1] - 4):
            first = a[y + 2, x + 3] - a[y + 2, x + 1] + a[y + 3, x + 2] - a[y + 1, x + 2]
            second = a[y + 2, x + 4] - a[y + 2, x] + a[y + 4, x + 2] - a[y, x + 2]
            b[y + 2, x + 2] = b[y + 2, x + 2] + w[0] * first + w[1] * second
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            a[y, x] += w[2]
