"""Whether this MPI's file layer can be trusted to tell of writes that failed."""

from __future__ import annotations

import functools

from mpi4py import MPI

__all__ = ["tells_failures"]

# Accepts any write, and answers that the disk is full.
_FULL_DISK = "/dev/full"


@functools.cache
def tells_failures() -> bool:
    """Return whether collective writes that fail raise an error. Local.

    Open MPI has two file layers. ROMIO tells; OMPIO, in version 4 (seen in 4.1.4), returns success from collective
    writes to a full disk, with full counts. Importing `mpibatch.mpi` before MPI starts makes ROMIO the first choice;
    which one serves shows in what it says of a disk that is always full. All other libraries have ROMIO.
    """
    if not MPI.Get_library_version().startswith("Open MPI"):
        return True
    try:
        file = MPI.File.Open(MPI.COMM_SELF, _FULL_DISK, MPI.MODE_WRONLY)
    except MPI.Exception:
        return False
    try:
        file.Write_at_all(0, [b"mpibatch", MPI.BYTE])
    except MPI.Exception as error:
        # OMPIO of version 5 tells too, as far as is known, but with another class.
        return bool(error.Get_error_class() == MPI.ERR_IO)
    finally:
        file.Close()
    return False
