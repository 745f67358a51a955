"""The only door to mpi4py: private communicators, agreement on errors, abort, and the moving of array views.

Importing this package initializes MPI. From then on an uncaught exception on any rank ends the whole job, and so does
a rank that leaves alone with a failure: plain ``mpiexec python prog.py`` would leave the others waiting in MPI for
ever. From the first call that all ranks make together a job in which nobody goes on ends, too (see `patience`).
"""

import os
from typing import TYPE_CHECKING

# Of Open MPI's two file layers the default, OMPIO, returns success from collective writes that failed (see `files`),
# and was the slower one: 0.22 s where ROMIO took 0.12 s. It stays as the last choice, where ROMIO was not built.
os.environ.setdefault("OMPI_MCA_io_ompio_priority", "1")

from mpibatch.base.processes.networks import check_interface

check_interface()  # before MPI looks for others by another one

from mpi4py import MPI

from mpibatch.base.lazy_names import attach
from mpibatch.mpi.agreement import agreed, differ, is_checking, mark, same
from mpibatch.mpi.comm import private, world
from mpibatch.mpi.failure import install_hooks
from mpibatch.mpi.hosts import Hosts, hosts_of
from mpibatch.mpi.transfers import Target, Transfers, transfer

if TYPE_CHECKING:
    from mpibatch.mpi.supervision import Supervision, supervise
else:
    __getattr__, __dir__ = attach(__name__, {"supervision": ("Supervision", "supervise")})

__all__ = [
    "MPI",
    "Hosts",
    "Supervision",
    "Target",
    "Transfers",
    "agreed",
    "differ",
    "hosts_of",
    "is_checking",
    "mark",
    "private",
    "same",
    "supervise",
    "transfer",
    "world",
]

install_hooks()
