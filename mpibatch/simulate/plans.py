"""What a run does, made once from its arguments and never changed; what changes is in `progress`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.fields.field import Field

if TYPE_CHECKING:
    from mpibatch.checkpoint.checkpoints import Checkpoints
    from mpibatch.io.base.names import PathLike
    from mpibatch.mpi import MPI
    from mpibatch.simulate.schedule import Schedule

__all__ = ["Attributes", "Diagnostics", "LoopPlan", "Output", "Report", "RunPlan", "State", "StepLength", "Unpack"]

State = dict[str, Field]
StepLength = float | Callable[[State], float]
# report(done, total, label), as in mpibatch.job.execution.progress.
Report = Callable[[int, int, str], None]
Output = Callable[[State], Mapping[str, Field]]
Diagnostics = Callable[[State], Mapping[str, Any]]
Attributes = Mapping[str, Mapping[str, Any]]
Unpack = Callable[[Mapping[str, Field]], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class RunPlan:
    """The arguments of a simulation.

    Attributes
    ----------
    output : the HDF5 file, None for none; `attrs` are its own, and `record`: whether it tells of the run;
        `encrypt`: for whom.
    layout : of the grids that the simulation makes.
    """

    schedule: Schedule
    comm: MPI.Intracomm
    output: str | None
    attrs: Mapping[str, Any]
    record: bool
    encrypt: PathLike | None
    layout: Mapping[str, Any]
    report: Report | None
    checkpoints: Checkpoints | None
    resume: bool

    @property
    def needs_block(self) -> bool:
        """Whether the end of the with block has something to do. Local."""
        return self.output is not None or self.checkpoints is not None


@dataclass(frozen=True, eq=False, kw_only=True)
class LoopPlan:
    """The arguments of its time loop.

    Attributes
    ----------
    outputs : from the state to what is written.
    attrs : of the datasets.
    pack, unpack : from the state to what is in checkpoints, and what to do with it after it was restored.
    """

    dt: StepLength
    outputs: Output
    diagnostics: Diagnostics | None
    max_steps: int | None
    align_every: int
    attrs: Attributes | None
    pack: Output
    unpack: Unpack | None
