"""What every driver must do, on whatever this set-up has: the same bytes, whoever writes them, and together in failure.

The driver mpio needs h5py with parallel HDF5, which the second set-up of scripts/test.sh has.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import resource
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.io.seal.digests import of_array, of_bytes
from mpibatch.io.write import drivers, layout, mpio, shared_file
from mpibatch.io.write.layout import Dataset
from mpibatch.io.write.storage import file_system, hints, settings, stripes
from mpibatch.io.write.storage.aggregators import aggregators
from mpibatch.job.slabs.intermediates import Intermediate, opened
from mpibatch.job.slabs.slab import Slab
from mpibatch.mpi import MPI, private
from mpibatch.mpi.files import tells_failures
from tests.support.cuts import cuts_of_three_axes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.io.seal.extent import Extent

pytestmark = pytest.mark.mpi

SHAPE = (7, 5, 4)
CUTS = cuts_of_three_axes(SHAPE, MPI.COMM_WORLD.size)
DRIVERS = ["direct", pytest.param("mpio", marks=pytest.mark.mpio)]


def values(shape: tuple[int, ...] = SHAPE, dtype: str = "f8") -> np.ndarray:
    """Numbers that differ between neighbors, the same on all ranks."""
    numbers = np.arange(1, np.prod(shape) + 1).reshape(shape)
    return (numbers % 3 == 0) if dtype == "?" else (numbers * 37 % 251).astype(dtype)


def field(array: np.ndarray, halo: Any = 0, cut: Any = None, comm: Any = None) -> Any:
    grid = mb.Grid(array.shape[:3], comm=comm, **(cut or {}))
    u = grid.full(99, array.dtype, halo, array.shape[3:])
    u.owned[...] = array[grid.box.slices()]
    return u


def write(driver: str, path: Path, datasets: list[Dataset], *fields: Any) -> list[Extent]:
    comm = fields[0].grid.comm
    if comm.rank == 0:
        path.touch()
    comm.Barrier()
    return drivers.choose(comm, driver).driver.write(comm, str(path), datasets, list(fields), {"job": "x"})


def plan(name: str, u: Any, **more: Any) -> Dataset:
    return Dataset(name, u.shape, u.dtype.str, {"units": "K"}, **more)


def check(path: Path, name: str, array: np.ndarray, extents: list[Extent]) -> None:
    """Rank 0 reads the file as anybody would, and finds the values also where the extents say."""
    MPI.COMM_WORLD.Barrier()
    if MPI.COMM_WORLD.rank == 0:
        with h5py.File(path) as file:
            assert file[name].dtype == array.dtype
            assert file[name].attrs["units"] == "K"
            np.testing.assert_array_equal(file[name][...], array)
        found = [extent for extent in extents if extent.dataset == name]
        assert len(found) == bool(array.size)
        for extent in found:
            stored = path.read_bytes()[extent.offset : extent.offset + extent.nbytes]
            assert stored == array.tobytes()
            np.testing.assert_array_equal(extent.digests, of_array(array))
    else:
        assert extents == []
    MPI.COMM_WORLD.Barrier()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("dtype", ["?", "i2", ">f4", "f8", "c16"])
def test_dtypes(shared_tmp: Path, driver: str, dtype: str) -> None:
    array = values(dtype=dtype)
    u = field(array, halo=1)
    check(shared_tmp / "a.h5", "g/u", array, write(driver, shared_tmp / "a.h5", [plan("g/u", u)], u))


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("halo", "components", "limit"),
    [(0, (), None), (2, (), 24), (((1, 0), (0, 3), (2, 2)), (3,), 1), (0, (2, 2), 100), (1, (), 1001)],
)
def test_decompositions_and_rounds(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, driver: str, halo: Any, components: Any, limit: int | None
) -> None:
    """With a limit that stands for 2 GiB: below a cell, parts of rows, rows, planes; and never as many on all ranks."""
    if limit is not None:
        monkeypatch.setattr(shared_file, "ROUND_BYTES", limit)
    array = values((*SHAPE, *components), "i4")
    for number, cut in enumerate(CUTS):
        path = shared_tmp / f"{number}.h5"
        u = field(array, halo, cut)
        check(path, "u", array, write(driver, path, [plan("u", u)], u))
        if u.halo != ((0, 0),) * 3 and u.box.size:
            assert u.padded.reshape(-1)[0] == 99 or u.halo[0][0] == 0  # halos are neither read nor written
    MPI.COMM_WORLD.Barrier()
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in shared_tmp.iterdir()}) == 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_shapes_and_several_datasets(shared_tmp: Path, driver: str) -> None:
    """One cell, one axis, four axes, and no values at all: in one file, of several grids."""
    arrays = {f"u{number}": values(shape, "u2") for number, shape in enumerate([(1,), (13,), (6, 9), (3, 4, 5, 2)])}
    fields = {name: mb.scatter(array, mb.Grid(array.shape), halo=1) for name, array in arrays.items()}
    arrays["none"] = np.zeros((4, 4, 0))
    fields["none"] = mb.Grid((4, 4)).zeros(components=(0,))
    extents = write(driver, shared_tmp / "a.h5", [plan(name, u) for name, u in fields.items()], *fields.values())
    for name, array in arrays.items():
        check(shared_tmp / "a.h5", name, array, extents)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(("compression", "limit"), [(None, None), ("gzip:1", None), ("gzip:1", 100)])
def test_chunks(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, driver: str, compression: str | None, limit: int | None
) -> None:
    """Chunks that blocks cut through, that reach beyond the array, and ranks that have no cell of any."""
    if limit is not None:
        monkeypatch.setattr(shared_file, "ROUND_BYTES", limit)
    array = values((*SHAPE, 2), "i4")
    for number, cut in enumerate(CUTS):
        path = shared_tmp / f"{number}.h5"
        u = field(array, 1, cut)
        extents = write(driver, path, [plan("u", u, chunks=(3, 4, 4, 2), compression=compression)], u)
        world = MPI.COMM_WORLD
        world.Barrier()
        if world.rank == 0:
            with h5py.File(path) as file:
                assert (file["u"].chunks, file["u"].compression) == ((3, 4, 4, 2), "gzip" if compression else None)
                np.testing.assert_array_equal(file["u"][...], array)
            assert [extent.cells[0] for extent in extents] == [(a, b, 0, 0) for a in (0, 3, 6) for b in (0, 4)]
            for extent in extents:
                stored = path.read_bytes()[extent.offset : extent.offset + extent.nbytes]
                np.testing.assert_array_equal(extent.digests, of_bytes(stored, 0, extent.per_digest))
        world.Barrier()


@pytest.mark.mpio
def test_both_drivers_write_the_same_file(shared_tmp: Path) -> None:
    u, v = field(values(), halo=1), field(values((*SHAPE, 3), "u1"))
    told = [write(name, shared_tmp / name, [plan("u", u), plan("v", v)], u, v) for name in drivers.NAMES]
    MPI.COMM_WORLD.Barrier()
    assert told[0] == told[1]
    assert len({(shared_tmp / name).read_bytes() for name in drivers.NAMES}) == 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_cartesian_communicator(shared_tmp: Path, driver: str) -> None:
    """Some versions of Open MPI write wrong values through a communicator that has a Cartesian topology."""
    world = MPI.COMM_WORLD
    cartesian = world.Create_cart((1, world.size, 1), (True, True, False))
    u = field(values(), 1, {"topology": (1, None, 1)}, cartesian)
    assert u.grid.comm.Get_topology() == MPI.UNDEFINED
    extents = write(driver, shared_tmp / "a.h5", [plan("u", u)], u)
    check(shared_tmp / "a.h5", "u", values(), extents)
    cartesian.Free()


# --- what fails fails for all ------------------------------------------------------------------------------------


@contextmanager
def file_size_limit(nbytes: int, is_limited: bool) -> Iterator[None]:
    if not is_limited:
        yield
        return
    before, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, action)


def without_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the writes themselves fail, not what looks for room before them."""
    for name in ("_check_room", "_check_limit", "_reserve"):
        monkeypatch.setattr(shared_file, name, lambda *_: None)


@pytest.mark.parametrize(
    ("driver", "axis"),
    # When the write fails on one rank alone, HDF5 does not return on the others: see tests/io/test_drivers.py.
    [("direct", 0), ("direct", 1), ("untrusted", 0), ("untrusted", 1), pytest.param("mpio", 1, marks=pytest.mark.mpio)],
)
def test_writes_that_fail(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch, driver: str, axis: int) -> None:
    """The file system refuses the second half of the file: no rank may go on as if it had taken it."""
    world = MPI.COMM_WORLD
    array = values((60, 50, 4))
    u = field(array, 0, {"topology": tuple(None if a == axis else 1 for a in range(3))})
    if driver == "untrusted":
        driver = "direct"
        monkeypatch.setattr(shared_file, "tells_failures", lambda: False)
    # Cut along axis 0, the others' parts lie where they may still write.
    refused = axis == 1 or world.rank == world.size - 1
    created = layout.create

    def create(*args: Any) -> Any:
        made = created(*args)
        limits.__enter__()  # not before HDF5 has laid out the file
        return made

    with pytest.MonkeyPatch.context() as patch:
        without_checks(patch)
        limits = file_size_limit(50_000, refused)
        for module in (shared_file, mpio):
            patch.setattr(module, "create", create)
        if world.rank != 0:
            limits.__enter__()
        try:
            with pytest.raises(mb.RunError, match=r"a\.h5") as caught:
                write(driver, shared_tmp / "a.h5", [plan("u", u)], u)
        finally:
            limits.__exit__(None, None, None)
    assert len(set(world.allgather(str(caught.value)))) == 1
    check(shared_tmp / "b.h5", "u", array, write(driver, shared_tmp / "b.h5", [plan("u", u)], u))


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_limit_of_one_rank_is_seen_before(shared_tmp: Path, driver: str) -> None:
    world = MPI.COMM_WORLD
    u = field(values())
    with file_size_limit(600, world.rank == world.size - 1), pytest.raises(mb.RunError, match="ulimit -f"):
        write(driver, shared_tmp / "a.h5", [plan("u", u)], u)


def test_fewer_bytes_than_asked_for_are_a_failure() -> None:
    """As file layers tell of a full disk that only say so in the status."""

    def write_at(_: int, __: Any, status: Any) -> None:
        status.Set_elements(MPI.BYTE, 7)

    u = mb.Grid(MPI.COMM_WORLD.size).zeros()
    with pytest.raises(OSError, match="7 of 8 bytes"):
        shared_file._write_part(write_at, 0, u, (slice(0, 1),), MPI.DOUBLE)


# --- which driver ------------------------------------------------------------------------------------------------


def test_this_library_tells_of_failed_writes() -> None:
    """Also Open MPI, as `mpibatch.mpi` sets it up."""
    assert tells_failures()


@pytest.mark.mpio
def test_mpio_is_the_first_choice_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    comm = private()
    monkeypatch.delenv(drivers.VARIABLE, raising=False)
    assert drivers.choose(comm).driver is mpio
    assert drivers.choose(comm, is_packed=True).name == "direct"
    monkeypatch.setenv(drivers.VARIABLE, "direct")
    assert drivers.choose(comm).name == "direct"
    assert drivers.choose(comm, "mpio").name == "mpio"
    monkeypatch.delenv(drivers.VARIABLE)
    monkeypatch.setattr(drivers, "tells_failures", lambda: False)
    assert "OMPIO" in drivers.choose(comm).reason


def test_choices_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    comm = private()
    with pytest.raises(mb.UsageError, match="did you mean 'mpio'"):
        drivers.choose(comm, "mpi")
    monkeypatch.setattr(drivers, "obstacle", lambda: "this h5py has no MPI")
    monkeypatch.delenv(drivers.VARIABLE, raising=False)
    assert (drivers.choose(comm).name, drivers.choose(comm).reason) == ("direct", "this h5py has no MPI")
    monkeypatch.setenv(drivers.VARIABLE, "mpio")
    with pytest.raises(mb.UsageError, match=r"\$MPIBATCH_DRIVER='mpio' does not work: this h5py has no MPI"):
        drivers.choose(comm)


def test_ranks_that_could_not_do_what_rank_0_can(monkeypatch: pytest.MonkeyPatch) -> None:
    comm = private()
    last = comm.rank == comm.size - 1 > 0
    monkeypatch.setattr(drivers, "obstacle", lambda: "this h5py has no MPI" if last else "")
    monkeypatch.setattr(drivers, "tells_failures", lambda: True)
    monkeypatch.delenv(drivers.VARIABLE, raising=False)
    if comm.size == 1:
        assert drivers.choose(comm).name == "mpio"
    else:
        with pytest.raises(mb.UsageError, match="rank 0 writes with mpio"):
            drivers.choose(comm)


def test_two_libraries_in_one_process_are_seen() -> None:
    mine = {"/a/lib/libmpi.so.12.5", "/usr/lib/libmpi.so.40.30.4"}
    others = {"/a/libmpi_mpifh.so.40", "/b/MPI.mpich.cpython-311.so", "/usr/lib/libopen-rte.so.40", "[heap]"}
    assert drivers._libraries(sorted(mine | others)) == mine


def test_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = {"cb_config_list": "*:4", "cb_nodes": "2"}
    monkeypatch.setenv(settings.HINTS_VARIABLE, "cb_nodes=8; striping_unit=4194304;cb_config_list=")
    assert hints.hints(usual) == {"cb_nodes": "8", "striping_unit": "4194304"}
    with settings.chosen({"cb_nodes": 3}, None):
        assert hints.hints(usual) == {"cb_nodes": "3", "striping_unit": "4194304"}
    monkeypatch.setenv(settings.HINTS_VARIABLE, "")
    assert hints.hints(usual) == usual
    monkeypatch.setenv(settings.HINTS_VARIABLE, "cb_nodes 8")
    with pytest.raises(mb.UsageError, match="give name=value"):
        hints.hints()


def test_aggregators() -> None:
    """Never more than ranks, never none; each has as few of Lustre's servers as it can, and of that so few as do."""
    for nodes, per_node, servers in itertools.product((1, 2, 3, 7, 100), (1, 2, 48), (-1, 0, 1, 2, 8, 12, 13, 160)):
        for kind in ("", "ext4", "lustre", "nfs", "nfs4", "gpfs"):
            ranks = nodes * per_node
            choice = aggregators(nodes, ranks, kind, servers)
            assert 1 <= choice.total <= min(ranks, 4 * nodes)
            assert choice.total <= choice.per_node * nodes < choice.total + nodes
            if kind.startswith("nfs"):
                assert choice.total <= 8
            if kind == "lustre" and servers > 0 and per_node == 48:
                most = -(-servers // min(4 * nodes, servers))
                assert -(-servers // choice.total) == most
                assert choice.total == 1 or -(-servers // (choice.total - 1)) > most
    assert aggregators(1, 48, "ext4").hints == {"cb_config_list": "*:4", "cb_nodes": "4"}
    assert aggregators(4, 192, "lustre", 12).total == 12
    assert aggregators(2, 96, "lustre", 12).total == 6
    assert aggregators(3, 144, "lustre", 13).total == 7


def test_stripes_are_set_on_the_empty_file(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a program in the place of Lustre's, which notes what it is asked for and makes the file."""
    program, noted = shared_tmp / "lfs", shared_tmp / "noted"
    if MPI.COMM_WORLD.rank == 0:
        script = f'#!/bin/sh\necho "$@" >> {noted}\n[ "$1" = setstripe ] || exit 0\nfor last; do :; done\n: > "$last"\n'
        program.write_text(script)
        program.chmod(0o755)
    MPI.COMM_WORLD.Barrier()
    monkeypatch.setenv("PATH", f"{shared_tmp}:{os.environ['PATH']}")
    monkeypatch.setattr(file_system, "mounts", lambda: ["none / ext4 rw 0 0", f"server:/a {shared_tmp} lustre rw 0 0"])
    monkeypatch.setenv(settings.STRIPES_VARIABLE, "-1")
    u = field(values())
    mb.save(shared_tmp / "a.h5", u=u)
    with settings.chosen(None, "8:4M"):
        mb.save(shared_tmp / "a.h5", u=u)
    assert mb.io.verify(shared_tmp / "a.h5").is_whole
    calls = [line.split() for line in noted.read_text().splitlines()]
    asked = [words[1:] for words in calls if words[0] == "setstripe"]
    part = str(Path(os.path.realpath(shared_tmp)) / "a.h5.part")
    assert asked == [["--stripe-count", "-1", part], ["--stripe-count", "8", "--stripe-size", "4M", part]]
    with pytest.raises(mb.UsageError, match="number of servers"), settings.chosen(None, "8:4X"):
        pass


def test_stripes_that_cannot_be_set(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Lustre's program made before it failed is not another run's; and the file has what it has."""
    world = MPI.COMM_WORLD
    program, noted = shared_tmp / "lfs", shared_tmp / "noted"
    if world.rank == 0:
        failing = f'if [ "$1" = setstripe ]; then echo "$@" >> {noted}; : > "$last"; exit 1; fi'
        program.write_text(f'#!/bin/sh\nfor last; do :; done\n{failing}\n[ -f "$last" ] && echo 2 || echo 5\n')
        program.chmod(0o755)
    world.Barrier()
    monkeypatch.setenv("PATH", f"{shared_tmp}:{os.environ['PATH']}")
    monkeypatch.setattr(file_system, "mounts", lambda: ["none / ext4 rw 0 0", f"server:/a {shared_tmp} lustre rw 0 0"])
    monkeypatch.setenv(settings.STRIPES_VARIABLE, "8:4M")
    u = field(values())
    mb.save(shared_tmp / "a.h5", u=u)
    assert mb.io.verify(shared_tmp / "a.h5").is_whole
    between_passes = Intermediate(str(shared_tmp / "step-01.values"), u.shape, u.dtype.str)
    for _ in range(2):  # also in the place of what was left
        with opened(world, between_passes, is_new=True) as writer:
            writer.put(u, Slab(0, u.shape[0], 0, u.shape[0]))
    words = [line.split()[-1] for line in noted.read_text().splitlines()]
    assert [Path(word).name for word in words] == ["a.h5.part", "step-01.values", "step-01.values"]
    assert np.fromfile(between_passes.path, u.dtype).tobytes() == np.ascontiguousarray(values()).tobytes()
    if world.rank == 0:
        assert stripes.stripe_count(shared_tmp / "a.h5", "lustre") == 2
        assert stripes.stripe_count(shared_tmp, "lustre") == 8
        monkeypatch.delenv(settings.STRIPES_VARIABLE)
        assert stripes.stripe_count(shared_tmp, "lustre") == 5


def test_hints_that_one_rank_alone_cannot_read(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:
        monkeypatch.setenv(settings.HINTS_VARIABLE, "nonsense")
    u = field(values())
    with pytest.raises(mb.UsageError, match="nonsense"):
        write("direct", shared_tmp / "a.h5", [plan("u", u)], u)


def test_advice_for_lustre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_system, "mounts", lambda: ["none / ext4 rw 0 0", f"server:/a {tmp_path} lustre rw 0 0"])
    assert stripes.advice(str(tmp_path / "a.h5")) == ""  # without Lustre's own program
    program = tmp_path / "lfs"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "lfs setstripe" in stripes.advice(str(tmp_path / "a.h5"))
    assert stripes.advice("/a.h5") == ""


def test_an_error_of_one_rank_is_told_to_all(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = MPI.COMM_WORLD
    original = shared_file._write_part

    def failing(*args: Any) -> int:
        original(*args)
        raise OSError(errno.ENOSPC, "No space left on device")

    if world.rank == world.size - 1:
        monkeypatch.setattr(shared_file, "_write_part", failing)
    u = field(values())
    with pytest.raises(mb.RunError, match="No space left"):
        write("direct", shared_tmp / "a.h5", [plan("u", u)], u)
