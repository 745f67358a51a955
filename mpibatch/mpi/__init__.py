"""The only door to mpi4py: private communicators, agreement on errors, abort, and the moving of array views.

Importing this package initialises MPI. From then on an uncaught exception on any rank ends the whole job:
plain ``mpiexec python prog.py`` would otherwise leave the others waiting in MPI for ever.
"""

from mpi4py import MPI

from mpibatch.mpi.abort import install_hooks
from mpibatch.mpi.agree import agreed
from mpibatch.mpi.comm import private, release_all, world
from mpibatch.mpi.transfers import Transfers, transfer

__all__ = ["MPI", "Transfers", "agreed", "install_hooks", "private", "release_all", "transfer", "world"]

install_hooks()
