"""Sealed by all ranks: the same digests on any decomposition, found broken by any number of ranks."""

from __future__ import annotations

import errno
import itertools
import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from mpibatch.io import file_attributes, verify
from mpibatch.io.seal import digests, seal
from mpibatch.io.write.series import series
from mpibatch.mpi import MPI

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.mpi

SHAPE = (7, 5, 4)


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    raw = np.random.default_rng(5).integers(0, 2, (*shape, np.dtype(dtype).itemsize), "u1")
    return raw.view(dtype)[..., 0]


def field(array: np.ndarray, halo: Any = 0, **grid: Any) -> Any:
    u = mb.Grid(array.shape[:3], **grid).full(1, array.dtype, halo, array.shape[3:])
    u.owned[...] = array[u.box.slices()]
    return u


def on_root(function: Callable[..., Any], *args: Any) -> None:
    MPI.COMM_WORLD.Barrier()
    if MPI.COMM_WORLD.rank == 0:
        function(*args)
    MPI.COMM_WORLD.Barrier()


@given(
    st.sampled_from(["?", "u1", "f2", "i4", "f8", "c16"]),
    st.sampled_from([(), (3,), (2, 2)]),
    st.integers(0, 2),
    st.sampled_from([64, 128, 1 << 16]),
    st.lists(st.integers(0, 7), min_size=0, max_size=12),
    st.tuples(st.integers(0, 6), st.integers(1, 9)),
)
@settings(settings.get_profile("steady"), max_examples=30)
def test_digests_do_not_depend_on_the_decomposition(
    dtype: str, components: tuple[int, ...], halo: int, smallest: int, cuts: list[int], rows: tuple[int, int]
) -> None:
    array = numbers((*SHAPE, *components), dtype)
    comm = MPI.COMM_WORLD
    bounds = sorted([0, 7, *(cuts + [7] * comm.size)[: comm.size - 1]])
    sizes = [high - low for low, high in itertools.pairwise(bounds)]
    low, high = rows[0], min(7, rows[0] + rows[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "SMALLEST", smallest)
        for u in (field(array, halo), field(array, halo, sizes=[sizes, None, None], topology=(comm.size, 1, 1))):
            whole = digests.of_field(u.grid.comm, u)
            region = mb.Box((low, 0, 0), (rows[0] + rows[1], 5, 4))
            part = digests.extents_of_field(u.grid.comm, "u", u, 100, region, before=1000)
            if comm.rank == 0:
                assert whole.tolist() == digests.of_array(array).tolist()
                expected = digests.extent_of_array("u", array[low:high], 100, before=1000 + array[:low].size)
                assert part == [expected]
                assert part[0].digests.tolist() == expected.digests.tolist()
            else:
                assert not whole.size
                assert part == []


def saved(path: Path) -> None:
    u = field(numbers((16, 30, 20), "f8"), halo=1)
    mb.save(path, {"g/mask": u > 1, "u": u, "c": field(numbers((*SHAPE, 3), "u1"))}, record=True)


def stepped(path: Path) -> None:
    u = field(numbers((16, 30, 20), "f8"))
    with series(path, {"u": u}, outputs=2, record=True) as target:
        for number in range(3):
            target.append({"u": u + number})
        target.table("time", np.arange(3.0))


def chunked(path: Path) -> None:
    u = field(numbers((16, 30, 20), "f8"))
    mb.save(path, u=u, v=u.astype("f4"), chunks={"u": (4, 10, 20)}, compression={"v": "gzip"})


@pytest.mark.parametrize("write", [saved, stepped, chunked])
def test_committed_files_verify_and_broken_ones_do_not(shared_tmp: Path, write: Callable[[Path], None]) -> None:
    path, comm = shared_tmp / "a.h5", MPI.COMM_WORLD
    write(path)
    report = verify(path)
    assert report.is_whole
    assert verify(path, MPI.COMM_SELF) == report
    whole = path.read_bytes()
    rng = np.random.default_rng(6)
    for number, bit in enumerate(map(int, rng.integers(0, 8 * len(whole), 333))):
        at = bit // 8
        if comm.rank == number % comm.size:
            # Alone, on a copy: all together take turns below.
            mine = shared_tmp / f"{comm.rank}.h5"
            mine.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit % 8]) + whole[at + 1 :])
            assert any(part.start <= at < part.stop for part in verify(mine, MPI.COMM_SELF).broken), bit
    for bit in map(int, rng.integers(0, 8 * len(whole), 20)):
        on_root(path.write_bytes, whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
        report = verify(path)
        assert report.broken
        assert report == verify(path, MPI.COMM_SELF)


def test_the_run_record(shared_tmp: Path) -> None:
    path = shared_tmp / "a.h5"
    u = field(numbers(SHAPE, "f4"))
    contents = set()
    for record in (False, True):
        mb.save(path, u=u, record=record)
        contents.add(verify(path).content)
        told = file_attributes(path)
        assert {"h5py", "mpibatch", "numpy", "python"} <= set(json.loads(told["versions"]))
        assert ("run_record" in told) == record
        MPI.COMM_WORLD.Barrier()
    assert len(contents) == 1
    found = json.loads(told["run_record"])
    assert found["ranks"] == sum(found["hosts"].values()) == MPI.COMM_WORLD.size
    (parts,) = found["decomposition"]
    assert (parts["fields"], parts["shape"], parts["topology"]) == (["u"], list(SHAPE), list(u.grid.topology))
    assert sum(cells * count for cells, count in parts["blocks"][0]) == SHAPE[0]
    assert found["seconds"]["total"]["least"] > 0
    assert len(found["seconds"]["io"]["by_rank"]) == MPI.COMM_WORLD.size
    with pytest.raises(mb.UsageError, match="reserved"):
        mb.save(path, u=u, attrs={"run_record": "mine"})
    mb.save(path, u=u, attrs={"versions": "mine"})
    assert file_attributes(path)["versions"] == "mine"


def test_a_seal_that_cannot_be_written(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure of one rank is that of all, what was there stays, and nothing else is left."""
    path, u = shared_tmp / "a.h5", field(numbers(SHAPE, "f4"))
    mb.save(path, u=u)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("mpibatch.io.seal.seal.append", "os.fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(mb.RunError, match=r"could not be completed: No space left.* bytes free"):
                mb.save(path, u=u + 1)
        MPI.COMM_WORLD.Barrier()
        assert path.read_bytes() == before
        assert [one.name for one in shared_tmp.iterdir()] == ["a.h5"]
        MPI.COMM_WORLD.Barrier()


def test_what_goes_wrong_on_the_way_to_the_disk(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests are those of memory: a value that changes before it is in the file is found."""
    path, u = shared_tmp / "a.h5", field(numbers((16, 30, 20), "f8"))
    original = seal.append

    def spoilt(part: str, *rest: Any) -> None:
        with h5py.File(part, "r+", locking=False) as file:
            file["u"][8, 3, 2] += 1
        original(part, *rest)

    monkeypatch.setattr(seal, "append", spoilt)
    mb.save(path, u=u)
    assert [str(part) for part in verify(path).broken] == ["u[0:14, :, :]"]


def test_verify_fails_for_all(shared_tmp: Path) -> None:
    with pytest.raises(mb.RunError, match="no such file"):
        verify(shared_tmp / "absent.h5")
