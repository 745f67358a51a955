"""Devito (doi:10.1145/3374916) on the same work, on rank 0, with as many OpenMP threads as there are ranks.

Its own optimization level ("advanced": blocking, SIMD, factorized sums), compiler and flags (which allow it to
reorder sums, as ours do not), and blocks tuned by its own tuner ("aggressive"). Called is the compiled operator,
for several steps at once: what Devito's Python takes to check the arguments of a call is not counted.

Devito keeps three levels of a wave where ours goes over the step before the last.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

ORDERS = {"heat": 2, "heat2d": 2, "acoustic": 8}
STEPS_CHECKED = 3


@dataclass(frozen=True)
class Peer:
    """An operator, and what it works on."""

    operator: Any
    levels: Any
    tuned: dict[str, int]

    def steps(self, number: int) -> Callable[[], None]:
        """Return a call that makes so many steps from level 1 on. Local."""
        arguments = self.operator.arguments(time_m=1, time_M=number, **self.tuned)
        values = [arguments[parameter.name] for parameter in self.operator.parameters]
        return lambda: self.operator.cfunction(*values)


def is_installed() -> bool:
    """Whether there is a Devito. Local."""
    return importlib.util.find_spec("devito") is not None


@functools.lru_cache(maxsize=1)  # large arrays
def peer(case: str, n: int, threads: int, tune: bool = True) -> Peer:
    """Return the operator of a case on n cells along each axis. Local."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    devito: Any = importlib.import_module("devito")  # once its threads are told

    devito.configuration["language"] = "openmp" if threads > 1 else "C"
    devito.configuration["log-level"] = "ERROR"
    dtype, axes = (np.float32, 3) if case == "acoustic" else (np.float64, 2 if case == "heat2d" else 3)
    grid = devito.Grid(shape=(n,) * axes, extent=(n - 1,) * axes, dtype=dtype)
    u = devito.TimeFunction(name="u", grid=grid, space_order=ORDERS[case], time_order=2 if case == "acoustic" else 1)
    if case == "acoustic":
        m = devito.Function(name="m", grid=grid, space_order=0)
        m.data[:] = 1.0
        update = 2.0 * u - u.backward + 1e-4 * u.laplace * m
    else:
        update = u + 0.1 * u.laplace
    u.data[:] = 0.5
    operator = devito.Operator([devito.Eq(u.forward, update)])
    tuned: dict[str, int] = {}
    if tune:
        operator.apply(time_m=1, time_M=8, autotune="aggressive")
        tuned = dict(operator._state["autotuning"][-1].get("tuned", {}))
        u.data[:] = 0.5
    return Peer(operator, u, tuned)


def check(case: str, begin: npt.NDArray[Any], before: npt.NDArray[Any] | None, ours: npt.NDArray[Any]) -> None:
    """Raise SystemExit unless Devito's steps from `begin` (and `before`) give `ours` where no wall counts. Local."""
    found = peer(case, len(begin), 1, tune=False)
    # Level 1 is read first, level 0 the one before it; steps are counted from 1.
    found.levels.data[1] = begin
    if before is not None:
        found.levels.data[0] = before
    found.steps(STEPS_CHECKED)()
    last = np.asarray(found.levels.data[(1 + STEPS_CHECKED) % found.levels.data.shape[0]])
    away = STEPS_CHECKED * ORDERS[case] // 2
    inner = (slice(away, -away),) * begin.ndim
    error, size = np.abs(last[inner] - ours[inner]).max(), np.abs(ours[inner]).max()
    if not error <= 40 * STEPS_CHECKED * np.finfo(ours.dtype).eps * size:
        raise SystemExit(f"{case}: Devito's cells differ by {error:g} of {size:g} after {STEPS_CHECKED} steps")
