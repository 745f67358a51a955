"""Checkpoints: files from which a run goes on, after its end came too early, as if nothing had happened.

For a program with a loop of its own (`mpibatch.Simulation` does all of this by itself)::

    with mb.Checkpoints("run.checkpoints", every_minutes=10) as checkpoints:
        first, u = 0, grid.from_function(start, halo=1)
        if (found := checkpoints.latest()) is not None:
            first = found.step
            found.restore({"u": u})
        for step in range(first + 1, 1001):
            u = advance(u)
            if checkpoints.due(step):
                checkpoints.save(step, {"u": u}, {"anything": "as JSON, or NumPy arrays"})

A checkpoint is an ordinary sealed file of `mpibatch.save`, ``step-000000120.h5`` in a folder of its own: the fields,
and a few values beside them. It is there when it is complete and on disk, and older ones are removed only then. It can
be read on any number of ranks. `latest` takes the newest one that verifies; one that does not is named in a warning.

**Signals.** Within the block SIGUSR1 and SIGTERM no longer end the process: whichever rank got one, all of them learn
of it at one of the next calls of `due`, which says yes; when that checkpoint is on disk `save` raises `Stopped`, a
SystemExit with code 75 (EX_TEMPFAIL), on all ranks. A batch script may take this code as "start me again".

The parts, in order of dependency: ``folder`` (names), ``identity`` (whose checkpoint it is) and ``signals``, all
without MPI; ``watch`` (what ranks agree on), ``contents`` (what a checkpoint holds), ``checkpoint`` (one that
is whole), ``store`` (those in the folder), ``checkpoints``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.checkpoint.checkpoint import Checkpoint
    from mpibatch.checkpoint.checkpoints import Checkpoints
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "checkpoints": ("Checkpoints",),
            "checkpoint": ("Checkpoint",),
        },
    )

__all__ = ["Checkpoint", "Checkpoints"]
