"""What users do wrong, on 2 ranks: one clear message, the right exit code, no hang, no file under the final name.

Exit code 2: it is not valid (usage). 1: it could not be done (run). 0 at the end: what only looks wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

RANKS = 2

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with one good input of 12 × 10 cells."""
    monkeypatch.chdir(tmp_path)
    # A test may itself run where a launcher has left its traces.
    for name in [*os.environ]:
        if name.startswith(("PMI_", "PMIX_", "OMPI_", "HYD", "MPI_LOCAL", "SLURM_")):
            monkeypatch.delenv(name)
    # The package of this checkout, also where it is not installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    with h5py.File("in.h5", "w") as file:
        file["raw"] = np.arange(120, dtype="f4").reshape(12, 10)
        file["text"] = "words"
        file["complex"] = np.ones((12, 10), "c16")
        file["pairs"] = np.zeros((12, 10), [("a", "i4"), ("b", "f8")])
        file["empty"] = np.zeros((0, 10), "f4")
        file["number"] = 3.0
    return tmp_path


JOB = """\
[input]
path = "in.h5"
dataset = "raw"

[[step]]
filter = "gaussian_filter"
sigma = 1

[output]
path = "out.h5"
dataset = "smooth"
"""


def check(
    done: subprocess.CompletedProcess[str], code: int, *words: str, target: str = "out.h5", lines: int | None = 1
) -> None:
    """One message, told once, with all of `words`; nothing under the final name, nor half of it."""
    shown = done.stdout + done.stderr
    assert done.returncode == code, shown
    assert "Traceback" not in shown
    messages = [line for line in done.stderr.splitlines() if line.startswith("mpibatch") and "error: " in line]
    assert len(messages) == 1, shown
    for word in words:
        assert word in done.stderr
    if lines is not None:
        # Progress lines begin with a bracket; all else belongs to the message.
        assert len([line for line in done.stderr.splitlines() if not line.startswith("[")]) == lines, shown
    assert not list(Path(target).parent.glob(f"{Path(target).name}*"))


def filtered(launch: Launch, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return launch(RANKS, "-m", "mpibatch", "filter", *arguments, **options)


# Commands one after the other, in the same processes: starting them takes longer than what they do.
SEVERAL = """
import json, os, sys
from mpibatch.cli import main
from mpibatch.mpi import MPI
for number, arguments in enumerate(json.load(open("commands.json"))):
    for stream in (1, 2):
        path = f"{number}.{stream}.{MPI.COMM_WORLD.rank}"
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    code = main(arguments)
    with open(f"{number}.code.{MPI.COMM_WORLD.rank}", "w") as file:
        file.write(str(code))
"""


def each_of(launch: Launch, commands: list[list[str]]) -> list[subprocess.CompletedProcess[str]]:
    """What each command prints on all ranks, and how it ends on all of them."""
    Path("commands.json").write_text(json.dumps(commands))
    assert launch(RANKS, "-c", SEVERAL, timeout=120).returncode == 0
    ends = []
    for number, command in enumerate(commands):
        codes, shown, errors = (
            [Path(f"{number}.{name}.{rank}").read_text() for rank in range(RANKS)] for name in ("code", "1", "2")
        )
        assert len({*codes}) == 1, command
        ends.append(subprocess.CompletedProcess(command, int(codes[0]), "".join(shown), "".join(errors)))
    return ends


def run_job(launch: Launch, text: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    Path("job.toml").write_text(text)
    return launch(RANKS, "-m", "mpibatch", "run", "job.toml", *arguments, **options)


def damaged(path: str) -> str:
    """Make a file that begins well and is cut off, or is something else."""
    name = Path(path)
    if path == "cut.h5":
        with h5py.File(name, "w") as file:
            file["raw"] = np.arange(40_000, dtype="f8").reshape(200, 200)
    elif path == "cut.npy":
        np.save(name, np.zeros((100, 100)))
    elif path == "cut.png":
        image = pytest.importorskip("PIL.Image", reason="needs Pillow (the extra 'image')")
        image.fromarray(np.random.default_rng(1).integers(0, 256, (99, 99), np.uint8)).save(name)
    elif path == "words.h5":
        name.write_text("These are words, and no HDF5.\n" * 50)
        return path
    elif path == "nothing.h5":
        name.touch()
        return path
    os.truncate(name, name.stat().st_size // 2)
    return path


def test_inputs_that_cannot_be_read(launch: Launch, folder: Path) -> None:
    cases = [
        ("missing.h5::raw", 1, "missing.h5"),
        ("no/such/folder/in.h5::raw", 1, "no/such/folder/in.h5"),
        (".", 1, "folder"),
        ("in.h5", 2, "name one"),
        ("in.h5::rw", 2, "did you mean 'raw'?"),
        ("in.h5::", 2, "names no dataset"),
        ("in.h5::text", 2, "dtype"),
        ("in.h5::pairs", 2, "dtype"),
        ("in.h5::complex", 2, "complex128"),
        ("in.h5::empty", 2, "(0, 10)"),
        ("in.h5::number", 2, "single value"),
        ("cut.h5", 1, "cut.h5"),
        ("cut.npy", 1, "cut.npy"),
        ("cut.png", 1, "cut.png"),
        ("words.h5", 1, "words.h5"),
        ("nothing.h5", 1, "empty"),
    ]
    for source, _, _ in cases:
        if source.startswith(("cut", "words", "nothing")):
            damaged(source)
    commands = [["filter", source, "out.h5", "gaussian_filter:sigma=1"] for source, _, _ in cases]
    for done, (_, code, words) in zip(each_of(launch, commands), cases, strict=True):
        check(done, code, words)
    # And as it is for a user, whose processes end.
    check(filtered(launch, *commands[0][1:]), 1, "missing.h5")


def test_steps_that_cannot_be_meant(launch: Launch, folder: Path) -> None:
    cases = [
        ("gaussian_filter:sigma=nan", "sigma = nan"),
        ("gaussian_filter:sigma=[1,2,3]", "3 values for 2"),
        ("gaussian_filter:sigm=2", "did you mean 'sigma'?"),
        ("gausian_filter:sigma=2", "did you mean 'gaussian_filter'?"),
        ("sobel:axis=2", "axis = 2"),
        ("uniform_filter:size=3,origin=5", "origin"),
    ]
    commands = [["filter", "in.h5::raw", "out.h5", step] for step, _ in cases]
    for done, (_, words) in zip(each_of(launch, commands), cases, strict=True):
        check(done, 2, words, lines=None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("sigma = 1", "sigma = nan"), ("job.toml:7: ", "sigma = nan")),
        (("sigma = 1", "sgma = 1"), ("job.toml:7: ", "did you mean 'sigma'?", "2 problems")),
        (("sigma = 1", "sigma = "), ("job.toml:7: not valid TOML",)),
        (('"out.h5"', '"in.h5"'), ("is the input file",)),
    ],
)
def test_a_job_file_with_mistakes(launch: Launch, folder: Path, change: tuple[str, str], words: tuple[str]) -> None:
    before = Path("in.h5").read_bytes()
    check(run_job(launch, JOB.replace(*change)), 2, *words, lines=None)
    assert Path("in.h5").read_bytes() == before


def test_a_setting_that_fits_nothing(launch: Launch, folder: Path) -> None:
    check(run_job(launch, JOB, "--set", "step.sgma=3"), 2, "--set step.sgma=3", "no step of this job takes 'sgma'")


def test_a_grid_that_does_not_fit_the_ranks(launch: Launch, folder: Path) -> None:
    check(run_job(launch, JOB, "--set", "grid.topology=[3,1]"), 2, "3×1", "2 ranks")


def test_a_job_file_that_is_not_there(launch: Launch, folder: Path) -> None:
    check(launch(RANKS, "-m", "mpibatch", "run", "no.toml"), 1, "no.toml", "does not exist")
    check(launch(RANKS, "-m", "mpibatch", "run", "in.h5"), 2, "not UTF-8 text")


@pytest.mark.parametrize("arguments", [["runn"], ["filter", "in.h5"]])
def test_a_wrong_command_line_is_told_once(launch: Launch, folder: Path, arguments: list[str]) -> None:
    check(launch(RANKS, "-m", "mpibatch", *arguments), 2, lines=None)


def test_a_target_without_folder(launch: Launch, folder: Path) -> None:
    check(filtered(launch, "in.h5::raw", "none/out.h5", "sobel"), 1, "none", target="none/out.h5")


def test_a_target_that_is_a_folder(launch: Launch, folder: Path) -> None:
    Path("out.d").mkdir()
    check(filtered(launch, "in.h5::raw", "out.d", "sobel"), 1, "is a folder", target="out.h5")
    assert not list(Path("out.d").iterdir())


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("needs root, to mount a small or read-only file system")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"needs the right to mount a file system: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_read_only_folder(launch: Launch, folder: Path) -> None:
    if os.getuid():
        Path("ro").mkdir(mode=0o555)
        check(filtered(launch, "in.h5::raw", "ro/out.h5", "sobel"), 1, "ro", target="ro/out.h5")
        return
    with mounted(folder / "ro", "ro"):
        check(filtered(launch, "in.h5::raw", "ro/out.h5", "sobel"), 1, "ro", "not writable", target="ro/out.h5")


def large_input() -> None:
    with h5py.File("large.h5", "w") as file:
        file["raw"] = np.ones((600, 1000), "f4")


def test_a_full_file_system(launch: Launch, folder: Path) -> None:
    large_input()
    with mounted(folder / "small", "size=1m") as small:
        done = filtered(launch, "large.h5::raw", "small/out.h5", "gaussian_filter:sigma=1")
        check(done, 1, "small/out.h5", target="small/out.h5", lines=None)
        # What was there before stays.
        (small / "out.h5").write_bytes(b"before")
        assert filtered(launch, "large.h5::raw", "small/out.h5", "sobel").returncode == 1
        assert (small / "out.h5").read_bytes() == b"before"


LIMITED = """
import resource, sys
from mpibatch.mpi import MPI  # first: MPI itself makes files in shared memory
from mpibatch.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
sys.exit(main(["filter", "large.h5::raw", "out.h5", "sobel"]))
"""


def test_a_file_larger_than_allowed(launch: Launch, folder: Path) -> None:
    large_input()
    check(launch(RANKS, "-c", LIMITED), 1, "out.h5", lines=None)


def test_a_kernel_too_wide_for_the_memory_limit(launch: Launch, folder: Path) -> None:
    environment = os.environ | {"MPIBATCH_MEMORY_LIMIT": "2M"}
    done = filtered(launch, "in.h5::raw", "out.h5", "gaussian_filter:sigma=1e6", env=environment)
    check(done, 2, "MPIBATCH_MEMORY_LIMIT", "gaussian_filter")


def test_a_kernel_too_wide_for_any_memory(launch: Launch, folder: Path) -> None:
    check(filtered(launch, "in.h5::raw", "out.h5", "gaussian_filter:sigma=1e12"), 1, "gaussian_filter")


def test_a_kernel_wider_than_the_domain_works(launch: Launch, folder: Path) -> None:
    done = filtered(launch, "in.h5::raw", "out.h5", "gaussian_filter:sigma=30", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with h5py.File("out.h5") as file:
        assert file["gaussian_filter"].shape == (12, 10)


PATCHED = """
import sys
from mpibatch.mpi import MPI, failure
from mpibatch.job.execution import pipeline
from mpibatch.cli import main
from mpibatch.base.errors import RunError
failure.PATIENCE = 1
apply = pipeline.apply
def broken(step, field):
    if MPI.COMM_WORLD.rank in {ranks}:
        raise {error}("only " + "here")
    return apply(step, field)
pipeline.apply = broken
sys.exit(main(["filter", "in.h5::raw", "out.h5", "gaussian_filter:sigma=1", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("error", ["ZeroDivisionError", "RunError", "SystemExit"])
def test_an_error_on_one_rank_alone_ends_all(launch: Launch, folder: Path, error: str) -> None:
    done = launch(RANKS, "-c", PATCHED.format(ranks="{1}", error=error), timeout=30.0)
    check(done, 1, "only here", "on rank 1 of 2 alone", lines=None)


def test_an_unexpected_error_on_all_ranks_is_told_once(launch: Launch, folder: Path) -> None:
    code = PATCHED.format(ranks="{0, 1}", error="ZeroDivisionError")
    check(launch(RANKS, "-c", code), 1, "unexpected ZeroDivisionError: only here", "--debug shows where")
    done = launch(RANKS, "-c", code, "--debug")
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last)") == 1


def test_an_exit_of_all_ranks_has_its_code_and_words(launch: Launch, folder: Path) -> None:
    code = PATCHED.format(ranks="{0, 1}", error="SystemExit")
    check(launch(RANKS, "-c", code), 1, "mpibatch: error: only here")


def test_a_good_job_says_nothing_wrong(launch: Launch, folder: Path) -> None:
    done = run_job(launch, JOB)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    assert "wrote out.h5" in done.stdout
    assert "imbalance" in done.stdout
    assert "smooth" in done.stdout
    assert {path.name for path in folder.iterdir()} == {"in.h5", "job.toml", "out.h5"}
