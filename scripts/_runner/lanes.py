"""What goes on at the same time, and what after it.

What mostly needs one core goes in lanes, side by side. The first takes the checks, then parts of the unit tests, one
after the other. The second prepares the set-up with Open MPI and runs the MPI tests on one rank, then takes such parts
too. The third has the tests on a real Slurm, which mostly wait, of either set-up, and then parts, too: many of these
wait for a time limit or a disk. What the second and the third print is shown when they have ended. The MPI tests on
more ranks, which need all cores, follow.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections import deque
from typing import TYPE_CHECKING, TextIO

from scripts._runner.checks import run_checks
from scripts._runner.processes import interrupted
from scripts._runner.setups import (
    OPENMPI_ON_SLURM,
    Part,
    Setup,
    files_with,
    setup_mpich,
    setup_openmpi,
    unit_parts,
)
from scripts._runner.steps import prepare_openmpi, pytest_step

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from scripts._runner.results import Results


class Lanes:
    """All that the options ask for, in its order; what it shows is taken in by `results`."""

    def __init__(self, options: argparse.Namespace, results: Results) -> None:
        self._options, self._results = options, results
        self._mpich, self._openmpi = setup_mpich(), setup_openmpi()
        self._has_units = options.only in (None, "tests", "unit")
        self._has_ranks = options.only in (None, "tests", "mpi")
        self._wants_openmpi = options.setup in ("openmpi", "all") and (self._has_units or self._has_ranks)
        is_mpich = options.setup in ("mpich", "all")
        self._ranks = list(options.ranks or self._mpich.shares) if self._has_ranks and is_mpich else []
        parts = unit_parts(options) if self._has_units and is_mpich else []
        self._waiting = deque((self._mpich, part) for part in parts)  # what a lane does next
        self._are_two, self._are_three = len(parts) > 0, len(parts) > 1
        self._ready: list[Setup] = []
        self._is_settled = threading.Event()  # whether `_ready` will have Open MPI's set-up

    def run(self) -> None:
        """Do it all; return when the last step has ended."""
        with contextlib.ExitStack() as lanes:
            if self._are_two:
                lanes.enter_context(beside(self._second))
            if self._are_three:
                lanes.enter_context(beside(self._third))
            if self._options.only in (None, "checks"):
                run_checks(self._results, with_tests=not self._are_three)
            self._go_on(None)
        if not self._are_two:
            self._second(None)
        for number in self._ranks:
            if number != 1:
                pytest_step(self._mpich, number, self._options, self._results)
        for setup in self._ready:
            for number in self._options.ranks or setup.shares if self._has_ranks else ():
                pytest_step(setup, number, self._options, self._results)

    def _go_on(self, out: TextIO | None) -> None:
        while self._waiting:
            try:
                setup, part = self._waiting.popleft()
            except IndexError:  # the other lane was faster
                return
            pytest_step(setup, 0, self._options, self._results, out, part)

    def _second(self, out: TextIO | None) -> None:
        try:
            if self._wants_openmpi and prepare_openmpi(self._options, self._results, out):
                self._ready.append(self._openmpi)
        finally:
            self._is_settled.set()
        if self._ready and self._has_units:
            self._waiting.append((self._openmpi, Part("unit tests", "not mpi and not slurm and mpio")))
            self._waiting.extend([] if self._are_three else [(self._openmpi, OPENMPI_ON_SLURM)])
        if 1 in self._ranks:
            pytest_step(self._mpich, 1, self._options, self._results, out)
        self._go_on(out)

    def _third(self, out: TextIO | None) -> None:
        slurm = Part("unit tests on Slurm", "not mpi and slurm", files_with("slurm"))
        pytest_step(self._mpich, 0, self._options, self._results, out, slurm)
        self._is_settled.wait()
        if self._ready:
            pytest_step(self._openmpi, 0, self._options, self._results, out, OPENMPI_ON_SLURM)
        self._go_on(out)


@contextlib.contextmanager
def beside(lane: Callable[[TextIO | None], None]) -> Iterator[None]:
    """Run `lane` while the block runs; wait for it, and show what it printed."""
    failures: list[Exception] = []

    def work() -> None:
        try:
            lane(out)
        except Exception as error:
            failures.append(error)

    with tempfile.TemporaryFile("w+") as out:
        thread = threading.Thread(target=work, name=lane.__name__)
        thread.start()
        try:
            yield
            thread.join()
        except BaseException:
            interrupted.set()
            raise
        finally:
            thread.join()
            out.seek(0)
            print(out.read(), end="", flush=True)
    for failure in failures:
        raise failure
