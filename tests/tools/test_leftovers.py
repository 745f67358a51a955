"""What killed runs leave: runs that are really killed, files made like theirs, and what must be kept."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import mpibatch as mb
from mpibatch.base.files import replacing
from mpibatch.cli import main
from mpibatch.io.base.names import RESUMABLE
from mpibatch.tools.doctor import leftovers as module
from mpibatch.tools.doctor.leftovers import LeftoverPlaces, check_leftovers, leftovers, lines, remove

KILLED = """
import os, sys, time
from mpi4py import MPI
comm = MPI.COMM_WORLD
window = MPI.Win.Allocate_shared(1 << 12, 8, comm=comm)
comm.Barrier()
open(f"{sys.argv[1]}/{os.getpid()}.pid", "w").close()
time.sleep(60)
"""


def mapped(pid: int) -> set[str]:
    """Names in /dev/shm that a process has mapped, and that are still there."""
    names = {line.split(maxsplit=5)[-1].strip() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()}
    return {name for name in names if name.startswith("/dev/shm/") and Path(name).exists()}


def test_the_shared_memory_of_ranks_is_kept_while_they_live_and_removed_when_they_are_killed(tmp_path: Path) -> None:
    own = str(Path(sys.executable).parent / "mpiexec")
    start = [*shlex.split(os.environ.get("MPIBATCH_MPIEXEC", own)), "-n", "2"]
    command = [*start, sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        try:
            until = time.monotonic() + 30
            while len(ranks := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2:
                assert time.monotonic() < until
                time.sleep(0.05)
            names = set.union(*map(mapped, ranks))
            assert names, "this MPI keeps no names while it runs"
            alive = leftovers(LeftoverPlaces(), grace=0.0)
        finally:
            job.kill()
            for pid in ranks:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    assert names.isdisjoint(str(leftover.path) for leftover in alive)
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/maps").exists() and mapped(pid) for pid in ranks):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert names.isdisjoint(str(leftover.path) for leftover in leftovers(LeftoverPlaces()))  # within the grace
    mine = [leftover for leftover in leftovers(LeftoverPlaces(), grace=0.0) if str(leftover.path) in names]
    assert {str(leftover.path) for leftover in mine} == names
    removed, kept = remove(mine)
    assert (removed, kept) == (mine, [])
    assert not any(Path(name).exists() for name in names)


def of_age(path: Path, content: bytes = b"x" * 100) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


OURS = b"\x89HDF\r\n\x1a\n" + bytes(500) + b"mpibatch_layout"


@pytest.fixture
def places(tmp_path: Path) -> LeftoverPlaces:
    for name in ("shm", "tmp", "out"):
        (tmp_path / name).mkdir()
    return LeftoverPlaces(tmp_path / "shm", (tmp_path / "tmp",), tmp_path / "out")


def test_what_is_dead_is_removed_and_what_is_used_marked_or_another_users_is_kept(
    places: LeftoverPlaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shm, tmp, out = places.shared, places.temporary[0], tmp_path / "out"
    dead = [of_age(shm / name) for name in ("mpich_shm_7a_0", "vader_segment.n.0.1", "osc_rdma.n.1", "sm_segment.n.0")]
    with replacing(out / "a.csv") as draft:
        name = draft.name
    (out / "a.csv").unlink()
    dead.append(of_age(out / name))
    (tmp / "mpibatch-supervisor-x").mkdir()
    of_age(tmp / "mpibatch-supervisor-x" / "record")
    mb.save(out / "b.h5", u=mb.Grid((4, 4)).full(1.0))
    dead.append(of_age(out / "b.h5.part", (out / "b.h5").read_bytes()))  # what it has of ours is in its head
    others = [of_age(shm / "sem.other"), of_age(out / "b.h6"), of_age(tmp / "mpibatch-cache-1")]
    (out / "link.h5.part").symlink_to(out / "b.h5")
    foreign = of_age(out / "download.h5.part")
    resumable = of_age(out / "c.h5.part", OURS)
    (out / "c.h5.checkpoints").mkdir()
    marked = of_age(out / "d.h5.part", OURS)
    with suppress(OSError):  # else it is kept because marks cannot be seen
        os.setxattr(marked, RESUMABLE, b"")
    alien = of_age(shm / "mpich_shm_9_0")
    if os.geteuid() == 0:
        os.chown(alien, 12345, 12345)
    else:
        alien.unlink()
    (tmp / "mpibatch-doctor-0-1").mkdir()
    with (
        of_age(shm / "mpich_shm_8_0").open("rb"), of_age(out / "e.h5.part", OURS).open("rb") as locked,
        socket.socket(socket.AF_UNIX) as listening,
    ):  # fmt: skip
        fcntl.flock(locked, fcntl.LOCK_EX)
        (tmp / "mpibatch-probe-y").mkdir()
        listening.bind(str(tmp / "mpibatch-probe-y" / "s"))
        live = [shm / "mpich_shm_8_0", out / "e.h5.part", tmp / "mpibatch-probe-y" / "s"]
        assert leftovers(places) == []  # all of it is young
        found = leftovers(places, grace=0.0)
        assert check_leftovers(out, places)[0].level == "ok"
        monkeypatch.setattr(module, "GRACE", 0.0)
        monkeypatch.setattr(LeftoverPlaces, "usual", classmethod(lambda cls, folder: places))
        assert "killed runs have left 8 files" in check_leftovers(out, places)[0].message
        assert main(["doctor", "--clean", "--folder", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"removed 4 leftovers in {shm}: 400 B" in text
    assert not any(path.exists() for path in (*dead, tmp / "mpibatch-supervisor-x", tmp / "mpibatch-doctor-0-1"))
    kept = {leftover.path: leftover.kept for leftover in found if leftover.kept}
    assert {*kept} == {foreign, resumable, marked}
    assert "nothing in it says that mpibatch" in kept[foreign]
    assert "--resume" in kept[resumable]
    assert "--resume" in kept[marked]
    assert all(f"kept {path}: {reason}" in text for path, reason in kept.items())
    survivors = [*others, *live, *kept, out / "b.h5", *([alien] if os.geteuid() == 0 else [])]
    assert all(path.exists() for path in survivors)
    assert (out / "link.h5.part").is_symlink()
    assert lines(remove(leftovers(places, grace=0.0))[0], "removed")[-1].endswith(f"in {tmp}: 0 B")


def test_a_series_that_a_run_may_go_on_with_is_marked_and_a_finished_one_is_not(tmp_path: Path) -> None:
    grid = mb.Grid((4, 4))

    def until(step: int, checkpoints: mb.Checkpoints | None) -> list[str]:
        marks = []
        out = str(tmp_path / "out.h5")
        with mb.Simulation(steps=3, output=out, every_steps=1, checkpoints=checkpoints) as simulation:
            for now in simulation.steps({"u": grid.full(1.0)}, dt=0.1):
                if now.step == step:
                    marks += os.listxattr(f"{out}.part")
        return marks + os.listxattr(tmp_path / "out.h5")

    try:
        os.setxattr(tmp_path, "user.a", b"")
    except OSError:
        pytest.skip("this file system has no attributes")
    assert until(1, mb.Checkpoints(tmp_path / "checkpoints")) == [RESUMABLE]
    assert until(1, None) == []
