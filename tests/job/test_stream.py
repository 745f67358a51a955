"""Streamed jobs without MPI: passes, what a section [stream] may say, plans, a killed run, sheets of previews."""

import dataclasses
import gzip
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import UsageError
from mpibatch.cli import main
from mpibatch.cli.plan import _passes
from mpibatch.io.formats import inspect
from mpibatch.io.vault import age, keyring
from mpibatch.job import parse, run
from mpibatch.job.file.schema import Step
from mpibatch.job.file.stream import lasting_text
from mpibatch.job.passes.memory import Heights, allowed, check_chunks, height_of, heights_of, rank_bytes
from mpibatch.job.passes.outlook import outlooks
from mpibatch.job.passes.schedule import passes_of
from mpibatch.job.passes.traits import ROWS, Trait, against, period_of, traits_of
from mpibatch.job.plan import plan
from mpibatch.job.rehearsal import Rehearsed, Values, rehearse
from mpibatch.job.slabs import stream
from mpibatch.job.slabs.components import Components
from mpibatch.job.slabs.intermediates import Intermediate
from mpibatch.job.slabs.page_cache import Places, places_of, write_behind
from mpibatch.job.slabs.slab import Slab
from mpibatch.measure._properties.properties import PROPERTIES, check
from mpibatch.mpi import MPI, private

JOB = """
[input]
path = "in.h5"
[[step]]
name = "smooth"
filter = "gaussian_filter"
sigma = 1
[[step]]
filter = "threshold_otsu"
[[step]]
filter = "label"
save = true
[output]
path = "out.h5"
record = false
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with h5py.File("in.h5", "w") as file:
        file["raw"] = np.random.default_rng(7).random((9, 8, 7)).astype("f4")
    return tmp_path


def test_the_section_is_checked() -> None:
    with pytest.raises(UsageError) as caught:
        parse(JOB + '[stream]\nmemory = "much"\nslab = 0\n[checkpoint]\n[grid]\nsizes = [[9], [], []]\n')
    words = str(caught.value)
    for part in ('memory = "much"', "slab = 0", "[checkpoint]", "[grid] sizes"):
        assert part in words
    with pytest.raises(UsageError, match="would write in plain"):
        parse(JOB.replace("record = false", 'encrypt = "recipients.txt"') + "[stream]\n")
    with pytest.raises(UsageError, match="slab by slab"):
        parse(JOB.replace("record = false", "subfiles = 2") + "[stream]\n")
    assert parse(JOB.replace("record = false", 'compression = "gzip"') + "[stream]\n").output.compression == "gzip"


def test_the_text_that_lasts_is_without_it() -> None:
    stream = '[stream]\nslab = 3\nmemory = "1 GiB"\n'
    assert lasting_text(JOB + stream) == JOB
    assert lasting_text(f"{JOB}# --set stream.slab=3\n# --set smooth.sigma=2\n") == f"{JOB}# --set smooth.sigma=2\n"
    assert lasting_text(stream + JOB.lstrip()) == JOB.lstrip()


def test_passes() -> None:
    job = parse(JOB)
    values = Values("in", (100, 50, 40), (), "float32", (False,) * 3)
    known = [Rehearsed("float32", (), (4, 4, 4)), Rehearsed("bool", (), (0, 0, 0)), Rehearsed("int32", (), (1, 1, 1))]
    traits = traits_of(job, known, values)
    assert traits["smooth"] == Trait("local", (4, 4), 1, "float32")
    first, second, third, last = passes_of(job.steps, traits)
    assert (first.loads, first.computes, first.stores, first.reach) == (("input",), ("smooth",), ("smooth",), (4, 4))
    assert (second.loads, second.computes, second.scans) == (("smooth",), (), (("counts", "threshold_otsu"),))
    assert (third.computes, third.scans) == (("threshold_otsu",), (("components", "label"),))
    assert third.reach == (1, 0)
    assert (last.loads, last.writes, last.stores) == (("label",), ("label",), ())
    streamed = parse(JOB + '[stream]\nmemory = "321 MiB"\n')
    assert streamed.stream is not None
    for ranks in (1, 3):
        height = height_of(streamed.stream, first, values, traits, ranks)
        assert rank_bytes(height, first, values, traits, ranks) <= 321 << 20
        assert height == 100 or rank_bytes(height + 1, first, values, traits, ranks) > 321 << 20


def test_results_wait_in_memory_where_slabs_stay_high() -> None:
    values = Values("in", (1000, 500, 400), (), "float32", (False,) * 3)
    known = [Rehearsed("float32", (), (4, 4, 4)), Rehearsed("bool", (), (0, 0, 0)), Rehearsed("int32", (), (1, 1, 1))]
    job = parse(JOB)
    traits = traits_of(job, known, values)
    passes = passes_of(job.steps, traits)
    both = 8 * 500 * 400 * 1000 // 2  # what is smoothed, and provisional numbers, of a rank

    def heights(settings: str, topology: list[int] | None = None) -> Heights:
        streaming = parse(f"{JOB}[stream]\n{settings}\n").stream
        assert streaming is not None
        result = heights_of(streaming, passes, values, traits, topology, 2)
        in_files = [height_of(streaming, each, values, traits, 2) for each in passes]
        for low, high, each in zip(result.slabs, in_files, passes, strict=True):
            assert min(high // 2, 3 * sum(each.reach)) <= low <= high
        if streaming.slab is None:
            needed = [rank_bytes(low, each, values, traits, 2) for low, each in zip(result.slabs, passes, strict=True)]
            assert result.held + max(needed) <= allowed(streaming)
        return result

    assert heights('memory = "3 GiB"').held == both
    assert heights('memory = "3 GiB"', [1, 1, 2]).held == both
    assert heights('memory = "3 GiB"', [2, 1, 1]).held == 0  # slabs of other heights are cut elsewhere
    assert heights('memory = "1 GiB"').held == 0
    assert heights('memory = "3 GiB"\nslab = 10').held == both
    assert heights('memory = "3 GiB"\nslab = 900').held == 0
    switched = {heights(f'memory = "{megabytes} MiB"').held for megabytes in range(400, 3000, 50)}
    assert switched == {0, both}


def test_only_what_goes_along_the_planes_counts() -> None:
    """Periods and modes of other axes are theirs."""

    def step(name: str, **parameters: object) -> Step:
        return Step(name=name, filter=name, input="input", parameters=parameters)

    wide = step("uniform_filter", size=[3, 31, 37])
    assert [period_of(wide, axis, 3) for axis in range(3)] == [3, 31, 37]
    assert [period_of(step("uniform_filter"), axis, 2) for axis in range(2)] == [3, 3]
    assert [period_of(step("uniform_filter", size=[5, 7], axes=[2, 0]), axis, 3) for axis in range(3)] == [7, 1, 5]
    assert [period_of(step("uniform_filter1d", size=101), axis, 3) for axis in range(3)] == [1, 1, 101]
    assert [period_of(step("threshold_sauvola"), axis, 2) for axis in range(2)] == [15, 15]
    assert period_of(step("gaussian_filter", sigma=9), 0, 3) == 1
    assert against(step("gaussian_filter1d", sigma=1, mode="wrap"), 3) == ""
    assert "wraps axis 0" in against(step("gaussian_filter1d", sigma=1, mode="wrap", axis=0), 3)
    assert "wraps axis 0" in against(step("sobel", mode="wrap", axis=1), 3)
    assert against(step("gaussian_filter", sigma=1, mode=["nearest", "wrap"], axes=[0, 2]), 3) == ""
    assert "wraps axis 0" in against(step("gaussian_filter", sigma=1, mode=["wrap", "nearest"]), 2)
    assert against(step("gaussian_filter", sigma=1, mode="wrap"), 2, goes_round=True) == ""


@pytest.mark.parametrize(
    ("shape", "parameters", "dtypes"),
    [
        ((1290, 1290, 1290), {}, ("int32", "int32")),
        ((1755, 1751, 1751), {}, ("int64", "uint32")),
        ((2**33 - 2, 1), {}, ("int64", "uint32")),
        ((2**17, 2**16), {}, ("int64", "int64")),
        ((1755, 1751, 1751), {"label_values": True}, ("int64", "int64")),
        ((1755, 1751, 1751), {"structure": [[[0]]]}, ("int64", "int64")),
    ],
)
def test_provisional_numbers_are_as_narrow_as_they_may(
    shape: tuple[int, ...], parameters: dict[str, object], dtypes: tuple[str, str]
) -> None:
    step = Step(name="a", filter="label", input="input", parameters=parameters)
    job = dataclasses.replace(parse(JOB), steps=(step,))
    values = Values("in", shape, (), "bool", (False,) * len(shape))
    known = rehearse(job.steps, values) if "structure" not in parameters else [Rehearsed(dtypes[0], (), (1,) * 3)]
    assert known[0].dtype == dtypes[0]  # on a few cells that stand for all of them
    (trait,) = traits_of(job, known, values).values()
    assert (trait.dtype, trait.waiting) == dtypes


def test_components_of_very_many_cells_have_wide_numbers() -> None:
    u = mb.Grid((3, 4)).from_function(lambda y, x: x % 2, "u1")
    before = {"provisional": np.array(2**31 + 5)}
    labels, _ = Components({}, "int64", before).add(u, Slab(0, 3, 0, 3), Intermediate("unused", (3, 4), "i8"))
    assert np.unique(mb.gather_all(labels)).tolist() == [0, 2**31 + 6, 2**31 + 7]


def test_properties_that_add_up_are_properties() -> None:
    assert {*ROWS} < {*PROPERTIES}
    assert check([name for name in ROWS if name not in ("eccentricity", "orientation")], 3, True, (1.0,) * 3)


def test_a_plan_tells_the_passes(folder: Path) -> None:
    words = plan(parse(JOB + "[stream]\nslab = 4\n"), 2)
    assert "pass 1  3 slabs of 4 planes and 8 around" in words
    assert "keeps smooth in memory" in words
    assert "keeps smooth in memory" not in plan(parse(JOB + '[stream]\nslab = 4\nmemory = "320 MiB"\n'), 2)
    assert words.count("\npass ") == 4
    stored = JOB.replace("record = false", 'stripes = "8:4M"\nhints = { cb_nodes = 3 }')
    assert "2 ranks of a node collect, stripes 8:4M (for Lustre alone), hints cb_nodes=3" in plan(parse(stored), 2)
    assert main(["plan", str(folder / "none.toml")]) != 0


def test_what_is_read_ahead(tmp_path: Path) -> None:
    """Those bytes, and no others: of planes in one piece, and of chunks that have a cell of them."""
    values = np.arange(6 * 5 * 4, dtype="u2").reshape(6, 5, 4)
    wanted = np.zeros(100 + values.nbytes, bool)
    np.ndarray((6, 5, 4, 2), "?", wanted[100:].data)[2:5:2, 1:3] = True
    marked = np.zeros_like(wanted)
    for low, high in Places("u", values.shape, 2, offset=100).ranges(range(2, 5, 2), (1, 3)):
        marked[low:high] = True
    np.testing.assert_array_equal(marked, wanted)
    path = tmp_path / "u.h5"
    mb.save(path, u=mb.scatter(values, mb.Grid(values.shape)), chunks=(2, 2, 4), compression="gzip")
    places = places_of(inspect(str(path), "u"))
    assert places is not None
    with h5py.File(path) as file:
        chunks = [file["u"].id.get_chunk_info_by_coord((z, y, 0)) for z in (2, 4) for y in (0, 2)]
    ranges = [(chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks]
    assert [*places.ranges(range(3, 5), (1, 3))] == ranges
    places.read_ahead(range(3, 5), (1, 3))
    Places(str(tmp_path / "none"), (4,), 8).read_ahead(range(2), (0, 1))
    write_behind(str(path), 0, 100)


def test_what_is_read_ahead_of_a_region(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that are read, where the first of them is not the file's."""
    with h5py.File("in.h5") as file:
        begin = file["raw"].id.get_offset()
    fetched: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, low, nbytes, __: fetched.extend(range(low, low + nbytes)))
    job = parse(JOB.replace('"in.h5"', '"in.h5"\nregion = "2:9:2, 3:8:2, 1:5"') + "[stream]\nslab = 2\n")
    comm = private(MPI.COMM_SELF)
    values, part, places = stream._checked(job, comm)
    volume = stream._volume(job, comm, values, part, 2, places)
    assert volume.grid.shape == (4, 3, 4)
    volume.read_ahead(1, 3, (1, 3))  # planes 4 and 6, rows 5 to 7
    assert fetched == [begin + 4 * 7 * (8 * plane + 5) + i for plane in (4, 6) for i in range(4 * 7 * 3)]
    volume.read_ahead(1, 3, (2, 2))
    assert len(fetched) == 2 * 4 * 7 * 3


def test_thick_chunks_need_memory() -> None:
    """Whole rows of them are in memory at once."""
    little = parse(JOB + '[stream]\nmemory = "400 MiB"\n').stream
    assert little is not None
    shape = (1000, 1000, 1000)
    check_chunks(little, "u", shape, (10, 100, 100), 4, 1)
    check_chunks(little, "u", shape, None, 4, 1)
    with pytest.raises(UsageError, match="packed 100 planes at a time"):
        check_chunks(little, "u", shape, (100, 100, 100), 4, 1)
    check_chunks(little, "u", shape, (100, 100, 100), 4, 6)
    thick = JOB.replace("record = false", "chunks = [900, 8, 7]") + '[stream]\nmemory = "330 MiB"\n'
    values = Values("in", (10**5, 100, 100), (), "float32", (False,) * 3)
    job = parse(thick)
    with pytest.raises(UsageError, match="thinner chunks"):
        stream._planned(job, private(MPI.COMM_SELF), values)
    with pytest.raises(UsageError, match="thinner chunks"):  # what plans and --dry-run tell, too
        outlooks(job, rehearse(job.steps, values), values, 1)


@pytest.mark.parametrize(
    ("path", "words"), [("sealed.h5", "keep in plain what they make of it"), ("packed.nii.gz", "read as a whole")]
)
def test_plans_refuse_inputs_that_do_not_go_through_slabs_as_runs_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    monkeypatch.setattr(keyring, "_secrets", {})
    (folder / "me.txt").write_text(f"{age.new_identity().recipient}\n")
    u = mb.Grid((9, 8, 7)).from_function(lambda z, y, x: x, "f4")
    mb.save("sealed.h5", raw=u, encrypt="me.txt")
    mb.save("packed.nii", raw=u)
    Path("packed.nii.gz").write_bytes(gzip.compress(Path("packed.nii").read_bytes()))
    job = parse(JOB.replace("in.h5", path) + "[stream]\n")
    for refuse in (lambda: plan(job, 1), lambda: _passes(job, [1]), lambda: run(job)):
        with pytest.raises(UsageError, match=words):
            refuse()
    assert not (folder / "out.h5").exists()


def test_a_plan_is_of_ranks_that_have_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = Values("in", (10**5, 100, 100), (), "float32", (False,) * 3)
    monkeypatch.setattr("mpibatch.job.plan.values_of", lambda job: values)
    job = parse(JOB.replace("record = false", "chunks = [900, 8, 7]") + '[stream]\nmemory = "330 MiB"\n')
    few, many = (_passes(job, ranks) for ranks in ([1, 2], [1, 2, 8, 16]))
    assert len(few) == 1
    assert few[0].startswith("stream   [output] chunks: ")
    assert "on each of 2 ranks" in few[0]
    assert "through its data on 8 ranks" in many[0]
    assert len(many) > 1


def test_a_signal_that_comes_too_late_is_not_lost(folder: Path) -> None:
    seen: list[int] = []

    def signaled(count: int, total: int, name: str) -> None:
        if name == "done":
            signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        run(parse(JOB + "[stream]\nslab = 9\n"), report=signaled)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]
    assert Path("out.h5").exists()


def test_a_killed_run_is_resumed(folder: Path) -> None:
    (folder / "whole.toml").write_text(JOB)
    (folder / "job.toml").write_text(JOB + "[stream]\nslab = 2\n")
    assert main(["run", "whole.toml", "--quiet"]) == 0
    whole = hashlib.sha256(Path("out.h5").read_bytes()).hexdigest()
    Path("out.h5").unlink()
    program = (
        "import os, signal\nfrom mpibatch.job import parse, run\nfrom mpibatch.job.slabs import stream\n"
        "stream.EVERY = 0\n"
        "def report(done, total, name):\n    if done == 8: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run(parse(open('job.toml').read()), report=report)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ), capture_output=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert {path.name for path in Path("out.h5.stream").iterdir()} == {"progress.npz", "step-01.values"}
    assert main(["run", "job.toml", "--quiet"]) == 2  # what is left is in the way
    assert main(["run", "job.toml", "--quiet", "--resume"]) == 0
    assert hashlib.sha256(Path("out.h5").read_bytes()).hexdigest() == whole
    assert not Path("out.h5.stream").exists()


def test_sheets_of_previews(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (folder / "job.toml").write_text(JOB)
    words = ["preview", "job.toml", "sheet.png", "--slice", "z=3", "--step", "smooth"]
    assert main([*words, "--sweep", "smooth.sigma=1,2,[1,2,3]"]) == 0
    assert "3 pictures" in capsys.readouterr().out
    with Image.open("sheet.png") as image:
        assert image.size == (2 * (7 * 34 + 12), 2 * (8 * 34 + 24))
    assert main(["preview", "job.toml", "part.h5", "--region", "2:4", "--step", "smooth"]) == 0
    with h5py.File("part.h5") as file:
        assert file["preview"].shape == (2, 8, 7)
    for wrong in (["--sweep", "smooth.sigma"], ["--slice", "q=3"], ["--slice", "z=9"], ["--region", "x"]):
        assert main([*words[:3], "--step", "smooth", *wrong]) == 2
