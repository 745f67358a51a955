"""System calls that move fewer bytes than they were given, as they may at any time: nothing is hashed or kept short."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import RunError
from mpibatch.io.seal.digests import extent_of_array
from mpibatch.io.seal.verification import check
from mpibatch.io.write.series import series
from mpibatch.io.write.snapshot import Snapshot, damaged

if TYPE_CHECKING:
    from pathlib import Path

MOST = 700  # bytes a call; no multiple of a word


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the calls be short; the names of those that were."""
    called: list[str] = []
    pread, preadv, pwrite = os.pread, os.preadv, os.pwrite

    def read(handle: int, nbytes: int, offset: int) -> bytes:
        called.extend(["pread"] if nbytes > MOST else [])
        return pread(handle, min(nbytes, MOST), offset)

    def read_into(handle: int, buffers: Any, offset: int) -> int:
        called.extend(["preadv"] if len(buffers[0]) > MOST else [])
        return preadv(handle, [buffers[0][:MOST]], offset)

    def write(handle: int, data: Any, offset: int) -> int:
        called.extend(["pwrite"] if len(data) > MOST else [])
        return pwrite(handle, data[:MOST], offset)

    monkeypatch.setattr(os, "pread", read)
    monkeypatch.setattr(os, "preadv", read_into)
    monkeypatch.setattr(os, "pwrite", write)
    return called


def write_all(folder: Path) -> list[Path]:
    u = mb.Grid((60, 50)).from_function(lambda i, j: np.cos(i * 7.0 + j))
    mb.save(folder / "plain.h5", u=u, record=False)
    mb.save(folder / "chunks.h5", u=u, record=False, chunks=(16, 16))
    mb.save(folder / "gzip.h5", u=u, record=False, chunks=(16, 16), compression="gzip")
    with series(folder / "series.h5", {"u": u}, outputs=2) as file:
        file.append({"u": u})
        file.append({"u": u})
    return [folder / name for name in ("plain.h5", "chunks.h5", "gzip.h5", "series.h5")]


def test_files_are_the_same_and_whole(tmp_path: Path, short: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "short").mkdir()
    paths = write_all(tmp_path / "short")
    for path in paths:
        check(path)
    values = [mb.load(f"{path}::u").owned for path in paths[:3]]
    assert {"pread", "preadv", "pwrite"} <= set(short)
    monkeypatch.undo()
    whole = write_all(tmp_path)
    for path, other in zip(paths[:3], whole[:3], strict=True):
        assert path.read_bytes() == other.read_bytes()
    for found, path in zip(values, whole, strict=False):
        np.testing.assert_array_equal(found, mb.load(f"{path}::u").owned)
    for path in paths:
        check(path)


def test_damage_is_found_all_the_same(tmp_path: Path, short: list[str]) -> None:
    for path in write_all(tmp_path):
        data = bytearray(path.read_bytes())
        data[-len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(RunError):
            check(path)
    assert "pread" in short


def test_zeros_that_are_lost_at_the_end_are_missed(tmp_path: Path) -> None:
    path, values = tmp_path / "a", np.repeat([1.0, 0.0], 500)
    path.write_bytes(values.tobytes())
    extents, comm = [extent_of_array("u", values, 0)], mb.Grid(1).comm
    assert damaged(comm, str(path), extents) == ""
    os.truncate(path, 5000)
    assert "have changed" in damaged(comm, str(path), extents)


def test_a_series_that_another_version_noted_is_refused() -> None:
    snapshot = Snapshot(0, 0, (), [], b"", ())
    extra = snapshot.to_extra()
    assert Snapshot.from_extra(extra) == snapshot
    extra["series"]["version"] = 1
    with pytest.raises(RunError, match="another version; begin again with --anew"):
        Snapshot.from_extra(extra)
