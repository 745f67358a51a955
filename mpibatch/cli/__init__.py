"""The command line: one module per command, each with ``add`` (its arguments) and ``execute`` (what it does).

Commands import what they need when they run: ``mpibatch --help`` answers at once, where neither MPI nor NumPy is
installed.
"""

from mpibatch.cli._entry import main, run_program

__all__ = ["main", "run_program"]
