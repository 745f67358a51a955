"""The command line: one module per command, each with ``add`` (its arguments) and ``execute`` (what it does).

Commands import what they need when they run: ``mpibatch --help`` answers at once, where neither MPI nor NumPy is
installed.
"""

from mpibatch.cli._arguments import Parser
from mpibatch.cli._entry import command_line, main, run_program

__all__ = ["Parser", "command_line", "main", "run_program"]
