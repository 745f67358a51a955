"""What a failure of the driver mpio does to a job: seen from outside, since it ends all ranks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Launch

# The last rank may not write behind byte 50000, where its part of the file lies; what would see that before is off.
PROGRAM = """
import resource, signal, sys
import mpibatch as mb
from mpibatch.io.write import drivers, shared_file
from mpibatch.io.write.layout import Dataset
from mpibatch.mpi import failure
for name in ("_check_room", "_check_limit", "_reserve"):
    setattr(shared_file, name, lambda *_: None)
failure.PATIENCE = 1.0
u = mb.Grid((60, 50, 4), topology=(None, 1, 1)).zeros()
comm = u.grid.comm
if comm.rank == comm.size - 1:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
drivers.choose(comm, "mpio").driver.write(comm, sys.argv[1], [Dataset("u", u.shape, "<f8")], [u], {})
print("went on")
"""


@pytest.mark.mpio
def test_a_write_that_fails_on_one_rank_inside_hdf5_ends_the_job(tmp_path: Path, launch: Launch) -> None:
    begin = time.monotonic()
    done = launch(2, "-c", PROGRAM, str(tmp_path / "a.h5"))
    assert time.monotonic() - begin < 20
    assert done.returncode != 0
    assert f"rank 1: {tmp_path / 'a.h5'} could not be written" in done.stderr
    assert "went on" not in done.stdout
