"""Full disks, limits and read-only folders, on 2 ranks: one error on all ranks, soon, and nothing lost that was whole.

The error names the file, the bytes needed and the bytes free. What was there under the file's name stays, as does the
newest checkpoint, from which the run ends, once there is room, in the bytes of one that had room from the beginning.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mpibatch.base.files import LOCK
from mpibatch.io.seal import seal

if TYPE_CHECKING:
    from tests.conftest import Completed, Launch

RANKS = 2
SOON = 10.0  # seconds from the moment of the failure to the end of all processes
MEBI = 1 << 20

Mount = Callable[..., Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Mount]:
    """Return a function that mounts a file system in memory, of 16 MiB where nothing else is asked for."""
    made: list[Path] = []

    def mount(name: str = "disk", options: str = "size=16m") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs the right to mount a tmpfs (root): {done.stderr.strip()}")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        # Lazily: after an abort some process may still be about to end.
        while folder.is_mount():
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def told(done: Completed, *words: str, code: int = 1) -> str:
    """Return the one error, after a look at how the run ended."""
    shown = done.stdout + done.stderr
    assert done.returncode == code, shown
    assert "Traceback" not in shown
    assert "HDF5-DIAG" not in shown
    lines = [line for line in done.stderr.splitlines() if re.match(r"mpibatch.*error: ", line)]
    assert len(lines) == 1, shown
    for word in words:
        assert re.search(word, lines[0]), shown
    return lines[0]


# A run that fills a disk but for LEAVE bytes before step 20, or turns it read-only, or limits the size of its files.
PROGRAM = """
import os, resource, shutil, subprocess
from dataclasses import dataclass
from pathlib import Path
import numpy as np
import mpibatch as mb

@dataclass(frozen=True)
class Parameters:
    shape: tuple[int, ...] = (80, 256)

def meddle(rank):
    if limit := os.environ.get("LIMIT"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    if rank:
        return
    if folder := os.environ.get("FILL"):
        size = shutil.disk_usage(folder).free - int(os.environ["LEAVE"])
        with open(Path(folder) / "ballast", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    if folder := os.environ.get("READ_ONLY"):
        # Over itself, since the mount in which the folder's lock is held cannot be made read-only.
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    Path("meddled").touch()

def run(p, simulation):
    grid = simulation.grid(p.shape)
    state = {"u": grid.from_function(lambda i, j: np.cos(7 * i + j * j))}

    def rows(state):
        # So many that every few rows need another page.
        total = mb.sum(state["u"])
        return {f"sum{number}": total / (number + 3) for number in range(18)}

    for now in simulation.steps(state, 1.0, diagnostics=rows):
        if now.step == 20:
            meddle(grid.rank)
            simulation.comm.Barrier()
        state["u"] = 0.99 * state["u"] + 0.1
"""
JOB = """[simulation]
program = "walk.py"
steps = 40
[output]
path = "o/walk.h5"
every_steps = 5
record = false
[diagnostics]
path = "d/walk.csv"
every_steps = 1
[checkpoint]
path = "c/all"
every_steps = 8
"""
FIELD = 80 * 256 * 8


class Walk:
    """The run above, with its files where a test wants them."""

    def __init__(self, launch: Launch, folder: Path) -> None:
        self._launch, self.folder = launch, folder
        self.output, self.checkpoints = folder / "o" / "walk.h5", folder / "c" / "all"
        (folder / "walk.py").write_text(PROGRAM)
        (folder / "walk.toml").write_text(JOB)

    def places(self, *, output: str = "here", checkpoints: str = "here", diagnostics: str = "here") -> None:
        """Say in which folders the files are: the job's text, which goes into the output, stays the same."""
        (self.folder / "here").mkdir()
        for name, place in (("o", output), ("c", checkpoints), ("d", diagnostics)):
            (self.folder / name).symlink_to(place)

    def run(self, *options: str, ranks: int = RANKS, **variables: object) -> Completed:
        """Run it. Where it is meddled with, it must end soon after."""
        mark = self.folder / "meddled"
        mark.unlink(missing_ok=True)
        done = self._launch(
            ranks, "-m", "mpibatch", "run", "walk.toml", "--quiet", *options, cwd=self.folder,
            env=os.environ | {name: str(value) for name, value in variables.items()},
        )  # fmt: skip
        if mark.exists():
            assert time.time() - mark.stat().st_mtime < SOON
        return done

    def check_whole(self, whole: bytes, *options: str, ranks: int = RANKS) -> None:
        """Run it to its end."""
        done = self.run(*options, ranks=ranks)
        assert done.returncode == 0, done.stderr
        assert self.output.read_bytes() == whole
        assert sorted(path.name for path in self.output.parent.iterdir() if path.name.startswith("walk.h5")) == [
            "walk.h5"
        ]

    def check_left(self, newest: int) -> None:
        """Look at what a failed run left: whole checkpoints, and the series that they need."""
        assert not self.output.exists()
        assert self.output.with_name("walk.h5.part").exists()
        files = sorted(path.name for path in self.checkpoints.iterdir() if path.name != LOCK)
        assert files[-1] == f"step-{newest:09d}.h5"
        assert len(files) == 2  # and no .part
        unpacked = [seal.unpack(*seal.read(str(self.checkpoints / name))) for name in files]
        assert all(one.hashes for one in unpacked)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The output of a run that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "walk.py").write_text(PROGRAM)
    (folder / "walk.toml").write_text(JOB)
    for name in "ocd":
        (folder / name).mkdir()
    subprocess.run([sys.executable, "-m", "mpibatch", "run", "walk.toml", "--quiet"], cwd=folder, check=True)
    return (folder / "o" / "walk.h5").read_bytes()


@pytest.fixture
def walk(launch: Launch, tmp_path: Path) -> Walk:
    return Walk(launch, tmp_path)


NUMBERS = r"needs (at least )?\d+ bytes.* \d+ (bytes )?free"


def test_a_series_whose_disk_fills(walk: Walk, whole: bytes, disk: Mount) -> None:
    small = disk(options="size=32m")  # so large that the series is not set aside on it
    walk.places(output="disk")
    # The checkpoint after step 24 is there; the output after step 25 is not.
    told(walk.run(FILL=small, LEAVE=FIELD // 2), "walk.h5.part", NUMBERS)
    walk.check_left(newest=24)
    remount(small, "size=64m")
    walk.check_whole(whole, "--resume", ranks=0)


def test_one_disk_for_all(walk: Walk, whole: bytes, disk: Mount) -> None:
    small = disk(options="size=2500k")  # on which the series is set aside
    walk.places(output="disk", checkpoints="disk", diagnostics="disk")
    # Room for the next rows of diagnostics.
    told(walk.run(FILL=small, LEAVE=8192), "all/step-000000024.h5", NUMBERS)
    walk.check_left(newest=16)
    remount(small, "size=5m")
    walk.check_whole(whole, "--resume")


def test_a_checkpoint_folder_that_turns_read_only(walk: Walk, disk: Mount) -> None:
    small = disk()
    walk.places(checkpoints="disk")
    told(walk.run(READ_ONLY=small), "all/step-000000024.h5", "Read-only file system")
    walk.check_left(newest=16)


def test_checkpoints_that_can_never_be_made_are_found_out_at_once(walk: Walk, disk: Mount) -> None:
    disk(options="ro")
    walk.places(checkpoints="disk")
    told(walk.run(), "checkpoints", "c/all", "not writable")
    assert not (walk.folder / "meddled").exists()
    assert [*(walk.folder / "here").iterdir()] == []


def test_diagnostics_whose_disk_fills(walk: Walk, whole: bytes, disk: Mount) -> None:
    small = disk()
    walk.places(diagnostics="disk")
    told(walk.run(FILL=small, LEAVE=0), "walk.csv", NUMBERS)
    walk.check_left(newest=16)
    (small / "ballast").unlink()
    walk.check_whole(whole, "--resume")


@pytest.mark.skipif("coverage" in sys.modules, reason="the file of what measures is larger than allowed, too")
def test_files_larger_than_allowed(walk: Walk) -> None:
    walk.places()
    told(walk.run(LIMIT=3 * FIELD), "walk.h5.part", NUMBERS)
    walk.check_left(newest=24)


PIPELINE = """[input]
path = "in.npy"
[[step]]
filter = "gaussian_filter"
sigma = 1
[output]
path = "disk/out.h5"
{more}
"""


@pytest.mark.parametrize(("more", "options", "file"), [
    ("", "size=200k", "out.h5"),
    ('[checkpoint]\nevery_steps = 1\npath = "disk/c"', "size=200k", "step-01-gaussian_filter"),
    ("", "ro", "disk"),
])  # fmt: skip
def test_a_pipeline(launch: Launch, disk: Mount, tmp_path: Path, more: str, options: str, file: str) -> None:
    small = disk(options=options)
    np.save(tmp_path / "in.npy", np.ones((100, 250)))
    (tmp_path / "job.toml").write_text(PIPELINE.format(more=more))
    done = launch(RANKS, "-m", "mpibatch", "run", "job.toml", "--quiet", cwd=tmp_path, timeout=SOON)
    told(done, file, "not writable" if options == "ro" else NUMBERS)
    assert [path for path in small.rglob("*") if path.is_file()] == []


# Saves on a disk with 0, 1, 2, ... pages free, until one works; prints what each time was said.
SWEEP = """
import os, shutil, sys
from pathlib import Path
import numpy as np
import mpibatch as mb
from mpibatch.io.write import shared_file
from mpibatch.io.base import room
from mpibatch.io.write.series import series
from mpibatch.io.seal.verification import check

how, folder = sys.argv[1], Path(sys.argv[2])
if sys.argv[3:]:
    # As if others had taken the room after we have looked.
    for name in ("_check_room", "_check_limit", "_reserve"):
        setattr(shared_file, name, lambda *_: None)
    room.check_room = lambda *_: None
grid = mb.Grid((240, 64))
u = grid.from_function(lambda i, j: np.cos(i * 7.0 + j * j))
comm = grid.comm
path = str(folder / "a.h5")
def write(v, path=path):
    if how == "series":
        with series(path, {"u": v}, outputs=1) as file:
            for number in range(3):
                file.append({"u": v})
            file.table("time", np.arange(3.0))
    else:
        given = {"plain": {}, "chunks": {"chunks": (20, 16)}, "gzip": {"chunks": (20, 16), "compression": "gzip"}}[how]
        mb.save(path, u=v, **given)
def ballast(leave):
    if comm.rank == 0:
        (folder / "ballast").unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free
        with open(folder / "ballast", "wb") as file:
            if free > leave:
                os.posix_fallocate(file.fileno(), 0, free - leave)
    comm.Barrier()
write(grid.zeros())
check(path, comm)
before, pages, said = Path(path).read_bytes(), 0, []
while True:
    ballast(4096 * pages)
    try:
        write(u)
        break
    except mb.RunError as error:
        said.append(str(error))
    comm.Barrier()
    # Another file of HDF5's can be written after a failure.
    if comm.rank == 0:
        assert sorted(os.listdir(folder)) == ["a.h5", "ballast"], os.listdir(folder)
        assert Path(path).read_bytes() == before
    pages += 1
check(path, comm)
same = comm.allgather(said)
assert same.count(said) == comm.size
write(u, os.path.join(os.getcwd(), "b.h5"))
if comm.rank == 0:
    assert Path("b.h5").read_bytes() == Path(path).read_bytes()
    print(said)
"""


@pytest.mark.parametrize("how", ["plain", "chunks", "gzip", "series", "taken plain"])
def test_any_number_of_free_pages(launch: Launch, disk: Mount, tmp_path: Path, how: str) -> None:
    small = disk(options="size=2m")
    begin = time.monotonic()
    *taken, how = how.split()
    done = launch(RANKS, "-c", SWEEP, how, str(small), *taken, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = ast.literal_eval(done.stdout)
    size = (small / "a.h5").stat().st_size
    assert len(said) >= size // 4096
    assert time.monotonic() - begin < SOON * len(said)
    for number, words in enumerate(said):
        assert str(small / "a.h5") in words
        # How much a compressed file will need, nobody knows.
        assert re.search(NUMBERS, words), (number, words)
