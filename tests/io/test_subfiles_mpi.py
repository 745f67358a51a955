"""Subfiles: the same bytes on any ranks, read as one file by all readers, merged to the bytes of an ordinary save."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.io.base.subfiles import folder_of
from mpibatch.io.write import shared_file
from mpibatch.io.write.subfiles import writer
from mpibatch.io.write.subfiles.bands import Bands
from mpibatch.job import parse, run
from mpibatch.mpi import MPI
from tests.io.test_flat_out_mpi import GEOMETRY, SHAPE, field, values
from tests.io.test_io_mpi import listing, on_root, refused
from tests.support.cuts import cuts_of_three_axes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mpi

COMM = MPI.COMM_WORLD
ATTRS = {"sample": "A7", "count": 3, "list": [1.5, 2.5], "words": ["p", "q"], "is": True}
ABOUT = {"u": {"threshold": 0.5, "unit": "V"}, "table": {"note": "all"}}
# Small ones in one piece; in chunks, of which a band never cuts one; packed.
STORED: tuple[dict[str, Any], ...] = (
    {},
    {"chunks": {"u": (2, 4, 4), "g/mask": "auto"}, "compression": {"u": "gzip:1"}},
)


def contents(**cut: Any) -> dict[str, Any]:
    """Fields of three dtypes, one with few rows and with components, and a table."""
    u, mask = field(values("f8"), **cut), field(values("?"), **cut)
    few = mb.Grid((2, 3), comm=cut.get("comm")).full(7, "i2", components=(2,))
    labels, _ = mb.label(mask)
    return {"u": u, "g/mask": mask, "few": few, "table": mb.regionprops_table(labels, properties=("label", "area"))}


def everything(front: Path) -> str:
    total = hashlib.sha256(front.read_bytes())
    folder = front.with_name(folder_of(front.name))
    for file in sorted(folder.iterdir()):
        total.update(file.name.encode() + file.read_bytes())
    return total.hexdigest()


def test_fronts_are_read_verified_and_merged(shared_tmp: Path) -> None:
    cuts = cuts_of_three_axes(SHAPE, COMM.size)
    whole = values("f8")
    for number, (count, stored) in enumerate([(1, STORED[0]), (2, STORED[1]), (5, STORED[0]), (9, STORED[1])]):
        path = shared_tmp / f"{number}.h5"
        fields = contents(**cuts[number % len(cuts)])
        mb.save(path, fields, attrs=ATTRS, dataset_attrs=ABOUT, subfiles=count, **stored)
        mb.save(shared_tmp / "one.h5", fields, attrs=ATTRS, dataset_attrs=ABOUT, **stored)
        report = mb.io.verify(path)
        assert report.is_whole, report
        assert report.content == mb.io.verify(shared_tmp / "one.h5").content
        assert mb.gather_all(mb.load(path, "u")).tobytes() == whole.tobytes()
        part = mb.load(path, "u", region=np.s_[1:4:2, 3:, ::2])
        assert (part.grid.units, part.grid.origin[1]) == ("mm", 5.0)
        assert mb.gather_all(part).tobytes() == whole[1:4:2, 3:, ::2].tobytes()
        mb.io.merge(path, shared_tmp / "merged.h5")
        if COMM.rank == 0:
            assert (shared_tmp / "merged.h5").read_bytes() == (shared_tmp / "one.h5").read_bytes()
            with h5py.File(path) as theirs:  # as other programs see it, and by the names that they know
                assert theirs["u"][...].tobytes() == whole.tobytes()
                assert theirs["data/0/meshes/u"][2].tobytes() == whole[2].tobytes()
            with mb.open(path) as mine:
                assert (mine["u"][1, ::2].tobytes(), sorted(mine.table("table"))) == (
                    whole[1, ::2].tobytes(), ["area", "label"],
                )  # fmt: skip
        COMM.Barrier()


def test_no_byte_depends_on_the_ranks(shared_tmp: Path) -> None:
    cut = cuts_of_three_axes(SHAPE, COMM.size)[0]
    for stored in STORED:
        mb.save(shared_tmp / "u.h5", contents(**cut), subfiles=3, **stored)
        if COMM.rank == 0:
            (shared_tmp / "alone").mkdir(exist_ok=True)
            mb.save(shared_tmp / "alone" / "u.h5", contents(comm=MPI.COMM_SELF), subfiles=3, **stored)
            assert everything(shared_tmp / "alone" / "u.h5") == everything(shared_tmp / "u.h5")
        COMM.Barrier()


def test_what_is_written_anew_leaves_nothing_behind(shared_tmp: Path) -> None:
    path, folder = shared_tmp / "u.h5", shared_tmp / "u.h5.subfiles"
    mb.save(path, u=field(values("f8")), subfiles="node")
    first = listing(folder)
    assert len(first) == 1
    mb.save(path, u=field(values("f4")), subfiles=2)
    second = listing(folder)
    assert len(second) == 2
    assert not set(first) & set(second)
    mb.save(path, u=field(values("f4")))  # the ordinary way
    assert listing(shared_tmp) == ["u.h5"]


def test_failures_leave_what_was_there(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared_tmp / "u.h5"
    mb.save(path, u=field(values("f8")), subfiles=2)
    before, names = everything(path), listing(shared_tmp / "u.h5.subfiles")
    for module, name in ((shared_file, "fill"), (writer, "_named"), (writer, "_virtual")):
        with monkeypatch.context() as patched:

            def fail(*_: Any, name: str = name, **__: Any) -> None:
                groups = Bands((1,), 1, 2, COMM.size)
                if groups.group(COMM.rank) == groups.groups - 1 or name == "_virtual":
                    raise OSError(28, "No space left on device")

            patched.setattr(module, name, fail)
            with pytest.raises((mb.RunError, OSError, AttributeError)):
                mb.save(path, u=field(values("f4")), subfiles=2)
        assert listing(shared_tmp / "u.h5.subfiles") == names
        assert everything(path) == before


def test_subfiles_that_are_not_the_fronts_own(shared_tmp: Path) -> None:
    path, other = shared_tmp / "u.h5", shared_tmp / "v.h5"
    mb.save(path, u=field(values("f8")), subfiles=2)
    mb.save(other, u=field(values("f4")), subfiles=2)
    folder = shared_tmp / "u.h5.subfiles"
    last = folder / listing(folder)[-1]
    kept = last.read_bytes()
    strange = sorted((shared_tmp / "v.h5.subfiles").iterdir())[-1].read_bytes()
    changed = kept.replace(b"TREE", b"TREF", 1).replace(b"OHDR", b"OHDS", 1)
    assert changed != kept
    value = bytearray(kept)
    at = kept.index(values("f8")[-1].tobytes()[-40:])
    value[at] ^= 1
    COMM.Barrier()  # all have read it
    for data, word in ((strange, "exchanged"), (kept[:-1], "cut off"), (changed, "changed"), (None, "missing")):
        on_root(last.unlink if data is None else last.write_bytes, *([] if data is None else [data]))
        refused(mb.RunError, f"{last.name}.*{word}", mb.load, path, "u")
        report = mb.io.verify(path)
        assert last.name in str(report.broken[0])
    on_root(last.write_bytes, bytes(value))
    assert f"{last.name}: u[" in str(mb.io.verify(path).broken[0])
    on_root(last.write_bytes, kept)
    assert mb.io.verify(path).is_whole
    # The folder goes where the front goes; under another name of the front it is the same one.
    on_root(path.rename, shared_tmp / "renamed.h5")
    assert mb.gather_all(mb.load(shared_tmp / "renamed.h5", "u")).tobytes() == values("f8").tobytes()


def test_what_is_refused(shared_tmp: Path) -> None:
    u = field(values("f4"))
    for count in (0, -1, 1.5, True, "all", 10**6):
        refused(mb.UsageError, "subfiles=", mb.save, shared_tmp / "u.h5", u=u, subfiles=count)
    refused(mb.UsageError, "driver", mb.save, shared_tmp / "u.h5", u=u, subfiles=2, driver="mpio")
    refused(mb.UsageError, "subfiles", mb.save, shared_tmp / "u.zarr", u=u, subfiles=2)
    mb.save(shared_tmp / "u.h5", u=u)
    refused(mb.UsageError, "no subfiles", mb.io.merge, shared_tmp / "u.h5", shared_tmp / "v.h5")
    refused(mb.UsageError, "into itself", mb.io.merge, shared_tmp / "u.h5", shared_tmp / "u.h5")
    # A file of a stranger may not use our names to have others opened.
    mb.save(shared_tmp / "v.h5", u=u, subfiles=1)

    def forge() -> None:
        name = next((shared_tmp / "v.h5.subfiles").iterdir()).name
        with h5py.File(shared_tmp / "w.h5", "w") as file:
            layout = h5py.VirtualLayout(SHAPE, "f4")
            layout[...] = h5py.VirtualSource(f"v.h5.subfiles/{name}", "u", SHAPE)
            file.create_virtual_dataset("u", layout)

    on_root(forge)
    refused(mb.UsageError, "virtual dataset", mb.load, shared_tmp / "w.h5", "u")


def test_a_job_writes_subfiles(shared_tmp: Path) -> None:
    mb.save(shared_tmp / "in.h5", raw=field(values("f4").clip(-1, 1)))
    text = f"""
[input]
path = "{shared_tmp}/in.h5"
[[step]]
filter = "gaussian_filter"
sigma = 1
save = "smooth"
[output]
path = "{shared_tmp}/out.h5"
record = false
"""
    run(parse(text), COMM)
    whole = mb.io.verify(shared_tmp / "out.h5").content
    run(parse(f"{text}subfiles = 2\n"), COMM)
    assert mb.io.verify(shared_tmp / "out.h5").content == whole
    assert len(listing(shared_tmp / "out.h5.subfiles")) == 2
    with h5py.File(shared_tmp / "out.h5") as file:
        assert json.loads(file.attrs["mpibatch_subfiles"]) == {"smooth": [None, None]}
    assert mb.load(shared_tmp / "out.h5").grid.spacing == GEOMETRY["spacing"]
