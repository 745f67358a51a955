"""Streamed jobs on all ranks: the bytes of the run in memory, whatever the slabs; what is left is gone on with."""

import hashlib
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.job import parse, run

pytestmark = pytest.mark.mpi

SHAPE = (7, 9, 5)
OUTPUT = '[output]\npath = "{folder}/out.h5"\nrecord = false\n'
FULL = "[" + ", ".join(["[" + ", ".join(["[1, 1, 1]"] * 3) + "]"] * 3) + "]"
LOCAL = """
filter = "gaussian_filter"
sigma = 1.5
save = true
[[step]]
filter = "rank_filter"
rank = 2
size = 3
origin = 1
[[step]]
filter = "binarize"
threshold = 0.45
save = "mask"
"""
OBJECTS = """
name = "smooth"
filter = "uniform_filter"
size = 3
[[step]]
filter = "threshold_otsu"
[[step]]
filter = "label"
save = "labels"
[[step]]
filter = "regionprops_table"
intensity = "smooth"
properties = ["label", "area", "centroid", "bbox", "inertia_tensor_eigvals", "intensity_mean", "centroid_weighted"]
save = "table"
[[step]]
filter = "grey_dilation"
input = "label"
size = 3
save = "grown"
"""
MORE = f"""
filter = "binarize"
input = "input"
threshold = 0.93
[[step]]
filter = "label"
structure = {FULL}
save = true
[[step]]
filter = "regionprops_table"
save = "corners"
[[step]]
filter = "convert"
input = "input"
dtype = "u1"
scale = 5
[[step]]
filter = "label"
label_values = true
save = "levels"
[[step]]
filter = "threshold_multiotsu"
input = "convert"
save = true
[[step]]
filter = "threshold_triangle"
input = "input"
save = true
[[step]]
filter = "threshold_yen"
input = "input"
save = true
[[step]]
filter = "threshold_isodata"
input = "convert"
save = true
[[step]]
filter = "binarize"
input = "convert"
save = "bright"
"""


IN_FILES = 'memory = "320 MiB"\n'  # the process takes as much


@pytest.fixture
def folder(shared_tmp):
    comm = mb.Grid(1).comm
    if comm.rank == 0:
        with h5py.File(shared_tmp / "in.h5", "w") as file:
            file["raw"] = np.random.default_rng(7).random((SHAPE[0] + 2, *SHAPE[1:])).astype("f4")
    comm.Barrier()
    return shared_tmp


def job_of(folder: Path, steps: str, more: str = ""):
    text = f'[input]\npath = "{folder}/in.h5"\nregion = "1:-1"\n[[step]]\n{steps}' + OUTPUT.format(folder=folder)
    return parse(text + more)


def bytes_of(folder: Path) -> str:
    return hashlib.sha256((folder / "out.h5").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("steps", "heights"), [(LOCAL, (1, 40)), (OBJECTS + "[[step]]" + MORE, (2,))], ids=["local", "objects"]
)
def test_the_bytes_are_those_of_the_run_in_memory(folder, steps, heights):
    comm = mb.Grid(1).comm
    run(job_of(folder, steps))
    whole = bytes_of(folder)
    for planes in heights:
        for waits in ("", IN_FILES):
            comm.Barrier()
            summary = run(job_of(folder, steps, f"[stream]\nslab = {planes}\n{waits}"))
            assert summary.shape == SHAPE
            assert bytes_of(folder) == whole, f"slabs of {planes} planes, {waits}"
            assert not (folder / "out.h5.stream").exists()
    comm.Barrier()


@pytest.mark.parametrize(("waits", "files"), [("", 0), (IN_FILES, 3), ("path = '{}/kept'\n", 0)])
def test_results_wait_in_memory_where_there_is_room(folder, waits, files):
    """Then they are on disk once a note is due, or a signal asks for the end: one before the last slab."""
    comm = mb.Grid(1).comm
    waits = waits.format(folder)
    place = folder / ("kept" if "path" in waits else "out.h5.stream")
    run(job_of(folder, OBJECTS))
    whole = bytes_of(folder)
    comm.Barrier()
    most: list[int] = []

    def signaled(count: int, total: int, name: str) -> None:
        comm.Barrier()
        if count <= total - 2:
            most.append(len([*place.glob("*.values")]))
        if count == total - 2 and comm.rank == 0:
            signal.raise_signal(signal.SIGTERM)
        comm.Barrier()

    with pytest.raises(mb.Stopped):
        run(job_of(folder, OBJECTS, f"[stream]\nslab = 2\n{waits}"), report=signaled)
    assert max(most) == files
    comm.Barrier()
    assert len([*place.glob("*.values")]) == 2  # what the pass under way reads
    comm.Barrier()
    run(job_of(folder, OBJECTS, f"[stream]\nslab = 3\n{waits}"), start="resume")
    assert bytes_of(folder) == whole
    assert not place.exists()


def test_labels_of_64_bits_wait_in_32(folder, monkeypatch):
    """As in volumes of 2**31 cells and more, of which this one passes for one."""
    monkeypatch.setattr("mpibatch.measure._engine.places.LARGE", 100)
    comm = mb.Grid(1).comm
    run(job_of(folder, OBJECTS))
    whole = bytes_of(folder)
    assert mb.load(folder / "out.h5", "labels").dtype == "i8"
    sizes: list[int] = []

    def look(count: int, total: int, name: str) -> None:
        sizes.extend(path.stat().st_size for path in (folder / "out.h5.stream").glob("step-03.values"))

    for waits in ("", IN_FILES):
        comm.Barrier()
        run(job_of(folder, OBJECTS, f"[stream]\nslab = 3\n{waits}"), report=look)
        assert bytes_of(folder) == whole
    assert {*sizes} == {4 * np.prod(SHAPE)}


def test_what_is_left_is_gone_on_with_by_other_slabs(folder, monkeypatch):
    """Stopped after each slab in turn, at last also between passes and while the output is written."""
    monkeypatch.setattr("mpibatch.job.slabs.stream.EVERY", 0.0)
    comm = mb.Grid(1).comm
    run(job_of(folder, OBJECTS))
    whole = bytes_of(folder)
    comm.Barrier()

    class Stop(mb.RunError):
        pass

    done: list[int] = []

    def stopping(count: int, total: int, name: str) -> None:
        if count and name.startswith("pass"):
            done.append(count)
            if len(done) % 2 == 0:
                raise Stop("enough")

    start = "anew"
    for planes in range(2, 40):
        try:
            run(job_of(folder, OBJECTS, f"[stream]\nslab = {planes}\n"), report=stopping, start=start)
        except Stop:
            assert (folder / "out.h5.stream").is_dir()
            with pytest.raises(mb.UsageError, match="--resume"):
                run(job_of(folder, OBJECTS, "[stream]\nslab = 2\n"))
            start = "resume"
        else:
            break
    assert planes > 5
    assert bytes_of(folder) == whole
    assert not (folder / "out.h5.stream").exists()


def test_a_signal_stops_it_behind_a_slab(folder):
    """One that reaches a single rank; what was done is used, however high slabs are afterwards."""
    comm = mb.Grid(1).comm
    run(job_of(folder, OBJECTS))
    whole = bytes_of(folder)
    comm.Barrier()
    slabs: list[str] = []

    def signaled(count: int, total: int, name: str) -> None:
        slabs.append(name)
        if len(slabs) == 3 and comm.rank == comm.size - 1:
            signal.raise_signal(signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(mb.Stopped):
        run(job_of(folder, OBJECTS, "[stream]\nslab = 2\n"), report=signaled)
    assert signal.getsignal(signal.SIGUSR1) == before
    assert len(slabs) <= 5
    run(job_of(folder, OBJECTS, "[stream]\nslab = 5\n"), start="resume")
    assert bytes_of(folder) == whole
    assert not (folder / "out.h5.stream").exists()


def test_the_last_moments_of_a_run(folder, monkeypatch):
    """Killed behind the rename of the output, and between its seal and the rename."""
    comm = mb.Grid(1).comm

    class Killed(mb.RunError):
        pass

    def kill(*_: object) -> None:
        raise Killed("killed")

    for is_named in (True, False):
        with monkeypatch.context() as patched:
            patched.setattr("mpibatch.job.slabs.journal.SlabJournal.clear", kill)
            with pytest.raises(Killed):
                run(job_of(folder, OBJECTS, "[stream]\nslab = 4\n"), start="anew")
        whole = bytes_of(folder)
        comm.Barrier()
        if not is_named and comm.rank == 0:
            (folder / "out.h5").rename(folder / "out.h5.part")
        comm.Barrier()
        summary = run(job_of(folder, OBJECTS, "[stream]\nslab = 3\n"), start="resume")
        assert summary.was_complete == is_named
        assert bytes_of(folder) == whole
        assert not (folder / "out.h5.stream").exists()
        comm.Barrier()


@pytest.mark.parametrize(("stored", "left"), [("chunks = [3, 4, 4]\n", 3), ('compression = "gzip:1"\n', 1)])
def test_outputs_in_chunks(folder, monkeypatch, stored, left):
    """Several fields and a table, at once and stopped: behind a slab, or when all are there and chunks are packed."""
    monkeypatch.setattr("mpibatch.job.slabs.stream.EVERY", 0.0 if left > 1 else 1e9)
    comm = mb.Grid(1).comm
    run(job_of(folder, OBJECTS, stored))
    whole = bytes_of(folder)
    comm.Barrier()
    run(job_of(folder, OBJECTS, f"{stored}[stream]\nslab = 2\n"))
    assert bytes_of(folder) == whole
    comm.Barrier()

    def signaled(count: int, total: int, name: str) -> None:
        if count == total - left and comm.rank == 0:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(mb.Stopped):
        run(job_of(folder, OBJECTS, f"{stored}[stream]\nslab = 2\n"), report=signaled)
    comm.Barrier()
    assert any(path.suffix == ".saved" for path in (folder / "out.h5.stream").iterdir())
    assert not (folder / "out.h5.part").exists()
    comm.Barrier()
    run(job_of(folder, OBJECTS, f"{stored}[stream]\nslab = 6\n"), start="resume")
    assert bytes_of(folder) == whole
    assert not (folder / "out.h5.stream").exists()


def test_another_job_does_not_take_it_up(folder, monkeypatch):
    monkeypatch.setattr("mpibatch.job.slabs.stream.EVERY", 0.0)

    def stopping(count: int, total: int, name: str) -> None:
        if count == 2:
            raise mb.RunError("enough")

    with pytest.raises(mb.RunError, match="enough"):
        run(job_of(folder, OBJECTS, "[stream]\nslab = 6\n"), report=stopping)
    with pytest.raises(mb.UsageError, match="another job"):
        run(job_of(folder, LOCAL, "[stream]\nslab = 6\n"), start="resume")
    with monkeypatch.context() as patched:
        patched.setattr("mpibatch.job.slabs.stream.VERSION", 1)  # of the digests that were noted
        with pytest.raises(mb.UsageError, match="version of mpibatch"):
            run(job_of(folder, OBJECTS, "[stream]\nslab = 6\n"), start="resume")
    run(job_of(folder, LOCAL, "[stream]\nslab = 6\n"), start="anew")
    streamed = bytes_of(folder)
    mb.Grid(1).comm.Barrier()
    run(job_of(folder, LOCAL))
    assert bytes_of(folder) == streamed


def test_what_cannot_be_streamed_is_refused_at_once(folder):
    steps = 'filter = "canny"\n[[step]]\nfilter = "distance_transform_edt"\n[[step]]\nfilter = "sobel"\nmode = "wrap"\n'
    steps += '[[step]]\nfilter = "unsharp_mask"\n'
    with pytest.raises(mb.UsageError) as caught:
        run(job_of(folder, steps, "[stream]\n"))
    words = str(caught.value)
    for part in (
        "step 1 (canny",
        "step 2 (distance_transform_edt",
        "step 3 (sobel",
        "step 4 (unsharp_mask",
        "leave [stream] out",
    ):
        assert part in words
    with pytest.raises(mb.UsageError, match="a slab of one plane"):
        run(job_of(folder, LOCAL, '[stream]\nmemory = "1 MiB"\n'))
    assert not (folder / "out.h5").exists()
