"""Two runs that write to one name, files that are replaced, and what they may be read by."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base import files
from mpibatch.base.errors import RunError
from mpibatch.base.files import replacing
from mpibatch.base.json_files import write_json
from mpibatch.io import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Stops itself where a real run waits for the disk, with all its locks; goes on when it is told to.
WRITER = """
import os, signal, sys
import mpibatch as mb
real = os.fsync
def fsync(handle):
    os.fsync = real
    print("held", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    real(handle)
grid = mb.Grid((40, 30))
os.fsync = fsync
mb.save(sys.argv[1], u=grid.full(1.0))
print("saved", flush=True)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that is writing `path`, and stands still before its file is on the disk."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.3)


def test_the_later_of_two_runs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with held(path) as first:
        with pytest.raises(RunError, match="another run is writing it"):
            mb.save(path, u=mb.Grid((5, 4)).full(2.0))
        assert not path.exists()
        first.send_signal(signal.SIGCONT)
        assert first.stdout is not None
        assert first.stdout.readline() == "saved\n"
        assert first.wait(20) == 0
    assert not verify(path).broken
    with h5py.File(path) as file:
        assert file["u"].shape == (40, 30)
        assert (file["u"][...] == 1.0).all()
    mb.save(path, u=mb.Grid((5, 4)).full(2.0))
    assert names(tmp_path) == ["out.h5"]


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    with held(path) as first:
        first.kill()
        first.wait(10)
        assert (tmp_path / "out.h5.part").exists()
        mb.save(path, u=mb.Grid((5, 4)).full(2.0))
    assert not verify(path).broken
    assert names(tmp_path) == ["out.h5"]


def test_a_file_that_came_into_being_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "out.h5", os.fsync

    def fsync(handle: int) -> None:
        if not path.exists():
            path.write_text("somebody's")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RunError, match="overwrite=False"):
        mb.save(path, overwrite=False, u=mb.Grid((5, 4)).full(2.0))
    assert path.read_text() == "somebody's"


def test_a_rename_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with EINVAL, which only the folder's fsync may say without meaning harm."""
    path = tmp_path / "out.h5"
    mb.save(path, u=mb.Grid((5, 4)).full(1.0))
    before = path.read_bytes()

    def rename(*_: object, **__: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(RunError, match=r"out\.h5\.part could not be completed: Invalid argument"):
        mb.save(path, u=mb.Grid((5, 4)).full(2.0))
    assert path.read_bytes() == before
    assert names(tmp_path) == ["out.h5"]


def test_a_name_that_another_took_over_is_not_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system without locks."""
    path, real = tmp_path / "out.h5", os.fsync

    def fsync(handle: int) -> None:
        (tmp_path / "out.h5.part").unlink(missing_ok=True)
        (tmp_path / "out.h5.part").write_text("zeros of another run")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RunError, match="another run took"):
        mb.save(path, u=mb.Grid((5, 4)).full(2.0))
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o664])
def test_permissions_are_kept(tmp_path: Path, mode: int) -> None:
    data, record = tmp_path / "out.h5", tmp_path / "record.json"
    for path in (data, record):
        path.write_text("{}")
        path.chmod(mode)
    mb.save(data, u=mb.Grid((5, 4)).full(2.0))
    write_json(record, {"a": 1})
    assert [path.stat().st_mode & 0o777 for path in (data, record)] == [mode, mode]


def test_new_files_have_the_permissions_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_json(tmp_path / "record.json", {"a": 1})
    assert (tmp_path / "record.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_last_of_many_writers_wins_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    program = (
        "import sys; from pathlib import Path; from mpibatch.base.json_files import write_json\n"
        "for n in range(60): write_json(Path(sys.argv[1]), {'who': sys.argv[2], 'values': [sys.argv[2]] * 4000})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), str(n)]) for n in range(3)]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            value = json.loads(path.read_text())
            assert value["values"] == [value["who"]] * 4000
        time.sleep(0.002)
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert names(tmp_path) == ["record.json"]


def test_a_failed_replacement_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(OSError, match="No such"), replacing(path) as part:
        part.write_text("half") and (tmp_path / "nothing" / "there").write_text("")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_what_a_killed_replacement_left_is_removed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from mpibatch.base.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as part: part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    target, old = tmp_path / "a", time.time() - 1e6
    subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    (left,) = tmp_path.iterdir()
    kept = ["a.original.part", left.name.replace("a.", "b.", 1)]  # of a large output, and of another name
    for name in kept:
        (tmp_path / name).write_text("")
    with replacing(target) as living:  # it is locked
        for file in tmp_path.iterdir():
            os.utime(file, (old, old))
        files._leftovers.cache_clear()  # as of another process
        for count in (2, 1):
            with replacing(target) as part:
                part.write_text(str(count))
        assert names(tmp_path) == sorted(["a", living.name, *kept])


def test_a_file_is_held_by_one_and_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of another user, which may only be read; not one that is another each time, nor where none can be."""
    path, usual = tmp_path / files.LOCK, os.open

    def refused(name: Path, flags: int, *rest: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return usual(name, flags, *rest)

    first = files.hold(path)
    assert files.hold(path) == -1
    with monkeypatch.context() as other:
        other.setattr(os, "open", refused)
        assert files.hold(path) == -1
        files.unlock(first)
        second = files.hold(path)
        assert second >= 0
        with pytest.raises(PermissionError):
            files.hold(tmp_path / "none")
    files.release(path, second)
    assert not path.exists()
    os.close(first)
    monkeypatch.setattr(os.path, "samestat", lambda one, other: False)
    with pytest.raises(OSError, match="another file each time"):
        files.hold(path)


def test_two_runs_do_not_share_a_folder_of_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with mb.Checkpoints(tmp_path / "c", every_steps=1) as first:
        with pytest.raises(RunError, match="another run is using this folder"), mb.Checkpoints(tmp_path / "c"):
            pass
        first.save(1, {"u": mb.Grid((5, 4)).full(np.float64(2.0))})
    with mb.Checkpoints(tmp_path / "c") as again:
        assert again.latest() is not None
