"""How far a run has come: all that changes while it runs, besides the fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpibatch.random import Generator
    from mpibatch.simulate.diagnostics import DiagnosticRows
    from mpibatch.simulate.output_file import OutputFile
    from mpibatch.simulate.schedule import Clock
    from mpibatch.simulate.stillness import Stillness

__all__ = ["Progress"]


@dataclass
class Progress:
    """Step and time, what was written, and the streams of random numbers.

    Attributes
    ----------
    why_stopped : the reason that the program gave for an early end, None if it has not stopped the run.
    """

    clock: Clock
    rows: DiagnosticRows
    file: OutputFile
    stillness: Stillness
    streams: list[Generator] = field(default_factory=list)
    why_stopped: str | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the program has ended the run early. Local."""
        return self.why_stopped is not None

    @property
    def is_over(self) -> bool:
        """Whether no pass follows. Local."""
        return self.why_stopped is not None or self.clock.finished
