"""Time loops of SPMD programs: how long, how large a step, what is written when, and an end when numbers break.

    with mb.Simulation(until=0.1, output="heat.h5", every=0.01, diagnostics="heat.csv") as simulation:
        grid = simulation.grid((256, 256), spacing=1 / 256)
        state = {"u": grid.from_function(hill, halo=1)}
        spare = state["u"].like()
        for now in simulation.steps(state, dt=0.2 / 256**2, diagnostics=lambda s: {"mean": mb.mean(s["u"])}):
            heat(state["u"], k=256**2 * now.dt, out=spare, time=now.time)
            state["u"], spare = spare, state["u"]

`state` is the dict of fields that the program steps on: what it holds at the end of a pass is what is checked,
written and put into checkpoints. So a pass reads its fields from `state`, and nothing else of it may depend
on earlier passes.

**Steps.** With a number for `dt`, the longest step allowed, the time to the next output (or row of diagnostics, or the
end) is cut into equal steps, so that it is met exactly. With a function, ``dt(state)`` is asked before every step, and
only the last two before an output are shortened. With ``max_steps=None`` a pass may make several equal steps at once,
as many as ``now.count`` says and `mpibatch.iterate` fuses. `cfl_step` makes such a number from the largest speed, an
exact reduction, so that all ranks, and any number of them, take the same steps.

**The file** has a dataset ``(outputs, *cells, *components)`` for each field, ``time`` and ``step`` of the outputs, and
a dataset ``diagnostics/NAME`` for each column of the diagnostics. It is complete, or not there under its name, and its
bytes do not depend on the ranks. The CSV file is written line by line as the run goes, and stays if the run fails.

**Checkpoints.** ``Simulation(..., checkpoints=mb.Checkpoints("heat.checkpoints", every_minutes=10), resume=True)``
goes on from the newest checkpoint that is whole, on any number of ranks: the fields of `state` get their values, and
the step, the time, the outputs, the rows and random numbers (`simulation.random`) are as they were. The file ends with
the same bytes. So that this holds, a pass must depend on nothing but `state`, ``now`` and those random numbers. SIGUSR1
and SIGTERM end the run after a pass, with a checkpoint and exit code 75: see `mpibatch.checkpoint`.

The parts, in order of dependency: ``parameters`` (what programs declare) and ``schedule`` (when), both without MPI;
``finiteness``, ``cfl``, ``pass_length`` (steps in a pass), ``stillness``, ``diagnostics``; ``plans`` (what a run does),
``checks``, ``output_file``, ``progress`` (all that changes), ``restart`` (what goes into checkpoints), ``loop``,
``simulation``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.simulate.cfl import cfl_step
    from mpibatch.simulate.loop import Now
    from mpibatch.simulate.parameters import Count, NotNegative, Positive, Range
    from mpibatch.simulate.schedule import Every, Schedule
    from mpibatch.simulate.simulation import Simulation
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "simulation": ("Simulation",),
            "loop": ("Now",),
            "parameters": ("Count", "NotNegative", "Positive", "Range"),
            "schedule": ("Every", "Schedule"),
            "cfl": ("cfl_step",),
        },
    )

__all__ = ["Count", "Every", "NotNegative", "Now", "Positive", "Range", "Schedule", "Simulation", "cfl_step"]
