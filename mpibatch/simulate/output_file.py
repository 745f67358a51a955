"""The HDF5 file of a run: a series of each field, and tables of steps, times and diagnostics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import UsageError
from mpibatch.io.write.series import Series, series

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from mpibatch.fields.field import Field
    from mpibatch.io.write.snapshot import Snapshot
    from mpibatch.simulate.diagnostics import DiagnosticRows
    from mpibatch.simulate.plans import Attributes, RunPlan

__all__ = ["OutputFile"]

# What a file has besides the fields.
TABLES = ("diagnostics", "step", "time")


class OutputFile:
    """Opened with the first output, or after a checkpoint; `resources` closes it.

    Attributes
    ----------
    moments : step and time of every output.
    """

    def __init__(self, plan: RunPlan, resources: ExitStack) -> None:
        self._plan, self._resources = plan, resources
        self._series: Series | None = None
        self._datasets: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self.moments: list[tuple[int, float]] = []

    def open(self, fields: Mapping[str, Field], attrs: Attributes | None, resume: Snapshot | None = None) -> None:
        """Open it for these fields. Collective."""
        plan = self._plan
        assert plan.output is not None
        checkpoints = plan.checkpoints
        # Refused now, and not when the tables are added after the last step.
        if taken := [name for name in fields if name.split("/")[0] in TABLES]:
            raise UsageError(f"the output {taken[0]!r} has the name of one of the tables {TABLES}; rename it")
        opened = series(
            plan.output,
            fields,
            outputs=plan.schedule.outputs() or 0,
            attrs=plan.attrs,
            dataset_attrs=attrs,
            resume=resume,
            record=plan.record,
            encrypt=plan.encrypt,
            keep=None if checkpoints is None else lambda: checkpoints.newest is not None,
        )
        self._series = self._resources.enter_context(opened)
        self._datasets = {name: (u.shape, u.dtype) for name, u in fields.items()}

    def append(self, fields: Mapping[str, Field], attrs: Attributes | None) -> None:
        """Write an output; its moment is added by the caller when all of it is done. Collective."""
        if self._series is None:
            self.open(fields, attrs)
        assert self._series is not None
        self._series.append(fields)

    def snapshot(self) -> Snapshot | None:
        """Return what a checkpoint needs to go on with the file. Collective."""
        return self._series.snapshot() if self._series is not None else None

    def sizes(self) -> tuple[tuple[str, tuple[int, ...], str, int], ...]:
        """Return name, shape, dtype and bytes of each dataset. Local."""
        count = len(self.moments)
        return tuple(
            (name, (count, *shape), dtype.name, count * math.prod(shape) * dtype.itemsize)
            for name, (shape, dtype) in sorted(self._datasets.items())
        )

    def complete(self, rows: DiagnosticRows, time_units: str) -> None:
        """Add the tables. Collective."""
        if self._series is None:
            return
        units = {"units": time_units} if time_units else {}
        self._series.table("step", np.array([step for step, _ in self.moments], "i8"))
        self._series.table("time", np.array([time for _, time in self.moments], "f8"), units)
        for name, column in rows.columns().items():
            self._series.table(f"diagnostics/{name}", column, units if name in ("time", "dt") else {})
