"""Random numbers with the same bits on any ranks, that a checkpoint takes up again by two integers.

    rng = mb.random.Generator(seed=7)           # or simulation.random(7), for those that go into its checkpoints
    noise = rng.normal(grid, sd=0.1, halo=1)    # a Field
    kick = rng.uniform(u, -1.0, 1.0)            # of the shape of another one

Every value is a function of the seed, the number of the draw (the calls before) and the cell's place in the global
array: Philox4x32-10, a counter-based generator, doi:10.1145/2063384.2063405. So there is no state to hand from cell to
cell, and no two draws share a number. All ranks must make the same calls in the same order; nothing is communicated.

The parts: ``_loops.philox`` (compiled), ``generator``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.random.generator import Generator
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "generator": ("Generator",),
        },
    )

__all__ = ["Generator"]
