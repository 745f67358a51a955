"""Full disks, limits and read-only folders, on 2 ranks: one error on all ranks, soon, and nothing lost that was whole.

The error names the file, the bytes needed and the bytes free. What was there under the file's name stays, as does the
newest checkpoint, from which the run ends, once there is room, in the bytes of one that had room from the beginning.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpibatch.io import seal
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
        subprocess.run(["umount", str(folder)], check=True)


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
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    Path("meddled").touch()

def run(p, simulation):
    grid = simulation.grid(p.shape)
    noise = simulation.random(3)
    state = {"u": grid.zeros()}
    for now in simulation.steps(state, 1.0, diagnostics=lambda s: {"sum": mb.sum(s["u"])}):
        if now.step == 20:
            meddle(grid.rank)
            simulation.comm.Barrier()
        state["u"] = 0.5 * state["u"] + noise.normal(grid)
"""
JOB = """[simulation]
program = "walk.py"
steps = 40
[output]
path = "{output}"
every_steps = 5
record = false
[diagnostics]
path = "{diagnostics}"
every_steps = 1
[checkpoint]
path = "{checkpoints}"
every_steps = 8
"""
FIELD = 80 * 256 * 8


class Walk:
    """The run above, with its files where a test wants them."""

    def __init__(self, launch: Launch, folder: Path) -> None:
        self._launch, self.folder = launch, folder
        (folder / "walk.py").write_text(PROGRAM)

    def places(self, output: str = ".", checkpoints: str = ".", diagnostics: str = ".") -> None:
        self.output = self.folder / output / "walk.h5"
        self.checkpoints = self.folder / checkpoints / "c"
        paths = {"output": self.output, "checkpoints": self.checkpoints}
        text = JOB.format(**paths, diagnostics=self.folder / diagnostics / "walk.csv")
        (self.folder / "walk.toml").write_text(text)

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

    def whole(self) -> bytes:
        """Return the output of a run that nothing happens to."""
        self.places()
        done = self.run(ranks=0)
        assert done.returncode == 0, done.stderr
        whole = self.output.read_bytes()
        self.output.unlink()
        return whole

    def check_left(self, newest: int) -> None:
        """Look at what a failed run left: whole checkpoints, and the series that they need."""
        assert not self.output.exists()
        assert self.output.with_name("walk.h5.part").exists()
        files = sorted(path.name for path in self.checkpoints.iterdir())
        assert files[-1] == f"step-{newest:09d}.h5"
        assert len(files) == 2  # and no .part
        done = self._launch(0, "-m", "mpibatch", "verify", str(self.checkpoints / files[-1]))
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def whole_walk() -> dict[str, bytes]:
    return {}


@pytest.fixture
def walk(launch: Launch, tmp_path: Path, whole_walk: dict[str, bytes]) -> tuple[Walk, bytes]:
    walk = Walk(launch, tmp_path)
    if not whole_walk:
        whole_walk["walk.h5"] = walk.whole()
    return walk, whole_walk["walk.h5"]


NUMBERS = r"needs (at least )?\d+ .*bytes.*\d+ .*free"


@pytest.mark.parametrize("together", [False, True])
def test_a_series_whose_disk_fills(walk: tuple[Walk, bytes], disk: Mount, together: bool) -> None:
    run, whole = walk
    small = disk(options="size=32m")  # so large that the series is not set aside on it
    run.places("disk", "disk" if together else ".")
    # The checkpoint after step 16 is there; the outputs after steps 25 and, with more room, 30 are not.
    done = run.run(FILL=small, LEAVE=0 if together else FIELD // 2)
    told(done, "walk.h5", NUMBERS)
    run.check_left(newest=16)
    remount(small, "size=64m")
    done = run.run("--resume", ranks=3 if together else 0)
    assert done.returncode == 0, done.stderr
    assert run.output.read_bytes() == whole


@pytest.mark.parametrize("leave", [0, FIELD // 2, FIELD + 4 * 4096])
def test_a_checkpoint_that_finds_no_room(walk: tuple[Walk, bytes], disk: Mount, leave: int) -> None:
    run, whole = walk
    small = disk()
    run.places(".", "disk")
    told(run.run(FILL=small, LEAVE=leave), "step-000000024.h5", NUMBERS)
    run.check_left(newest=16)
    if leave:
        return
    (small / "ballast").unlink()
    done = run.run("--resume")
    assert done.returncode == 0, done.stderr
    assert run.output.read_bytes() == whole


def test_a_checkpoint_folder_that_turns_read_only(walk: tuple[Walk, bytes], disk: Mount) -> None:
    run, _ = walk
    small = disk()
    run.places(".", "disk")
    told(run.run(READ_ONLY=small), "step-000000024.h5", "Read-only file system")
    run.check_left(newest=16)
    # The next start says so before it computes anything.
    run.places(".", "disk")
    told(run.run("--anew"), "Read-only file system|not writable")
    run.check_left(newest=16)


def test_a_checkpoint_folder_that_cannot_be_made_is_found_out_at_once(walk: tuple[Walk, bytes], disk: Mount) -> None:
    run, _ = walk
    disk(options="ro")
    run.places(".", "disk")
    told(run.run(), "checkpoints", "disk", "not writable")
    assert not (run.folder / "meddled").exists()
    assert not run.output.with_name("walk.h5.part").exists()


def test_diagnostics_whose_disk_fills(walk: tuple[Walk, bytes], disk: Mount) -> None:
    run, whole = walk
    small = disk()
    run.places(diagnostics="disk")
    told(run.run(FILL=small, LEAVE=0), "walk.csv", NUMBERS)
    run.check_left(newest=16)
    (small / "ballast").unlink()
    assert run.run("--resume").returncode == 0
    assert run.output.read_bytes() == whole


def test_files_larger_than_allowed(walk: tuple[Walk, bytes]) -> None:
    run, _ = walk
    run.places()
    done = run.run(LIMIT=5 * FIELD)
    told(done, "walk.h5", rf"{5 * FIELD}|File too large")
    run.check_left(newest=16)


# Saves on a disk with 0, 1, 2, ... pages free, until one works; prints what each time was said.
SWEEP = """
import os, shutil, sys
from pathlib import Path
import numpy as np
import mpibatch as mb
from mpibatch.io.series import series
from mpibatch.io.verifying import check

how, folder = sys.argv[1], Path(sys.argv[2])
grid = mb.Grid((60, 64))
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


@pytest.mark.parametrize("how", ["plain", "chunks", "gzip", "series"])
def test_any_number_of_free_pages(launch: Launch, disk: Mount, tmp_path: Path, how: str) -> None:
    small = disk(options="size=2m")
    begin = time.monotonic()
    done = launch(RANKS, "-c", SWEEP, how, str(small), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = ast.literal_eval(done.stdout)
    size = (small / "a.h5").stat().st_size
    assert len(said) >= size // 4096
    assert time.monotonic() - begin < SOON * len(said)
    for number, words in enumerate(said):
        assert str(small / "a.h5") in words
        assert re.search(NUMBERS, words), (number, words)
