"""The commands on files, mostly as one rank without mpiexec."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.log import logger
from mpibatch.cli import main

Launch = Callable[..., subprocess.CompletedProcess[str]]

JOB = """\
[input]
path = "in.h5"
dataset = "raw"

[grid]
topology = [0, 2]

[[step]]
filter = "gaussian_filter"
sigma = 1
save = "smooth"

[[step]]
filter = "binarize"
threshold = 3

[output]
path = "out.h5"
dataset = "mask"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with an input of several datasets and a job."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    with h5py.File("in.h5", "w") as file:
        file["raw"] = np.arange(120, dtype="f4").reshape(12, 10)
        file["raw"].attrs["units"] = "K"
        file["cube"] = np.arange(60, dtype=">i2").reshape(3, 4, 5)
        file["group/rgb"] = np.arange(60, dtype="u1").reshape(4, 5, 3)
        file.create_dataset("mask", data=np.eye(4, dtype=bool), chunks=(2, 4), compression="gzip")
        file.attrs["who"] = "a test"
    Path("job.toml").write_text(JOB)
    yield tmp_path
    logger().handlers.clear()
    logger().propagate = True


def pixels(path: str) -> np.ndarray:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow (the extra 'image')")
    return np.asarray(image.open(path))


def digest_of(values: np.ndarray) -> str:
    little = values.dtype.newbyteorder("<")
    return hashlib.sha256(f"{little.str} {values.shape}\n".encode() + values.astype(little).tobytes()).hexdigest()


def test_info_lists_datasets(capsys):
    assert main(["info", "in.h5"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("in.h5: 4 datasets")
    for words in ("12 × 10", "float32", "480 B", 'units = "K"', 'who = "a test"', "chunks 2 × 4 gzip", "group/rgb"):
        assert words in shown


def test_info_in_json_with_digests(capsys):
    assert main(["info", "in.h5", "--json", "--digest"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == "in.h5"
    assert document["attributes"] == {"who": "a test"}
    datasets = {dataset["name"]: dataset for dataset in document["datasets"]}
    assert [*datasets] == ["cube", "group/rgb", "mask", "raw"]
    with h5py.File("in.h5") as file:
        for name, entry in datasets.items():
            assert entry["sha256"] == digest_of(file[name][()])
    assert datasets["raw"]["shape"] == [12, 10]
    assert datasets["raw"]["bytes"] == 480
    assert datasets["raw"]["attributes"] == {"units": "K"}


def test_info_and_view_start_no_mpi():
    code = (
        "import sys; from mpibatch.cli import main\n"
        "assert main(['info', 'in.h5', '--digest']) == 0 and main(['view', 'in.h5::raw', 'raw.png']) == 0\n"
        "sys.exit(str([m for m in ('mpi4py', 'numba') if m in sys.modules] or ''))"
    )
    pytest.importorskip("PIL", reason="needs Pillow (the extra 'image')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["in.h5::mask"], np.eye(4, dtype="u1") * 255),
        (["in.h5::group/rgb"], np.arange(60, dtype="u1").reshape(4, 5, 3)),
        (["in.h5::cube"], np.rint(np.arange(20) / 19 * 255).reshape(4, 5)),
        (["in.h5::cube", "--slice", "2:-1"], np.rint(np.arange(12) / 11 * 255).reshape(3, 4)),
        (["in.h5::cube", "--slice", "0:0", "--slice", "1:0"], np.rint(np.arange(5) / 4 * 255).reshape(1, 5)),
        (["in.h5::raw", "--longest", "5"], np.rint(np.add.outer(np.arange(4) * 30, np.arange(5) * 2) / 98 * 255)),
        (["in.h5::raw", "--percentile", "0,50"], None),
    ],
)
def test_view_writes_a_picture(arguments, expected, capsys):
    shown = pixels if main(["view", arguments[0], "x.png", *arguments[1:]]) == 0 else pytest.fail
    if expected is None:
        expected = np.rint(np.clip(np.arange(120) / 59.5, 0, 1) * 255).reshape(12, 10)
    np.testing.assert_array_equal(shown("x.png"), expected)
    assert "x.png: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["in.h5", "x.png"], 2, "name one"),
        (["in.h5::rwa", "x.png"], 2, "did you mean 'raw'?"),
        (["no.h5::raw", "x.png"], 1, "no.h5"),
        (["in.h5::raw", "x.unknown"], 2, "unknown file extension"),
        (["in.h5::raw", "no/x.png"], 1, "no/x.png"),
        (["in.h5::raw", "x.png", "--slice", "3"], 2, "AXIS:INDEX"),
        (["in.h5::raw", "x.png", "--slice", "2:0"], 2, "has axes 0 to 1"),
        (["in.h5::raw", "x.png", "--percentile", "9,3"], 2, "the lower first"),
        (["in.h5::raw", "x.png", "--longest", "0"], 2, "1 pixel or more"),
    ],
)
def test_view_refuses(arguments, code, words, capsys):
    assert main(["view", *arguments]) == code
    assert words in capsys.readouterr().err
    assert not Path(arguments[1]).exists()


def test_the_plan_of_a_job(capsys):
    assert main(["run", "job.toml", "--dry-run", "--ranks", "6", "--set", "step.sigma=2"]) == 0
    assert not Path("out.h5").exists()
    shown = capsys.readouterr().out
    for words in (
        "in.h5::raw: 12 × 10 cells of float32",
        "3 × 2 = 6 ranks, blocks up to 4 × 5 cells, imbalance 1.00",
        "gaussian_filter = gaussian_filter(input, sigma=2, order=0",
        "→ saved as 'smooth'",
        "out.h5: smooth, mask",
    ):
        assert words in shown


def test_a_plan_finds_what_a_run_would(capsys):
    assert main(["run", "job.toml", "--dry-run", "--ranks", "3"]) == 2
    assert "does not fit 3 ranks" in capsys.readouterr().err
    assert main(["run", "job.toml", "--dry-run", "--set", "input.path=no.h5"]) == 1
    assert "no.h5" in capsys.readouterr().err
    assert main(["run", "job.toml", "--ranks", "3"]) == 2
    assert "only with --dry-run" in capsys.readouterr().err


def test_planning_starts_no_mpi():
    code = (
        "import sys; from mpibatch.cli import main\n"
        "assert main(['run', 'job.toml', '--dry-run', '--ranks', '2']) == 0\n"
        "assert main(['filter', 'in.h5::raw', 'o.h5', 'sobel', '--dry-run']) == 0\n"
        "sys.exit(str([m for m in ('mpi4py', 'numba') if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == ""


def test_all_filters_are_listed(capsys):
    assert main(["filter", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("gaussian_filter(sigma, order=0") for line in lines)
    assert any(line.startswith("binarize(") for line in lines)


@pytest.mark.parametrize("ranks", [0, 3])
def test_filter_and_run_give_the_same(launch: Launch, ranks: int):
    steps = ["gaussian_filter:sigma=1,save=smooth", "binarize:threshold=3"]
    done = launch(ranks, "-m", "mpibatch", "filter", "in.h5::raw", "filtered.h5::mask", *steps, "--quiet")
    assert not done.stdout + done.stderr
    assert done.returncode == 0
    done = launch(ranks, "-m", "mpibatch", "run", "job.toml", "--set", "grid.topology=[0,0]")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote out.h5") == 1
    assert "[4/4] done" in done.stderr
    with mb.open("filtered.h5") as filtered, mb.open("out.h5") as output:
        assert sorted(filtered) == sorted(output) == ["mask", "smooth"]
        for name in filtered:
            np.testing.assert_array_equal(filtered[name], output[name])
        assert filtered["mask"].dtype == bool


def test_the_log_names_the_rank(launch: Launch):
    done = launch(2, "-m", "mpibatch", "run", "job.toml", "--log-level", "debug")
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        assert f"[{rank}/2] DEBUG mpibatch.job.execution.pipeline: gaussian_filter" in done.stderr


def test_processes_that_do_not_see_one_another_write_nothing(launch: Launch):
    # What mpiexec of another MPI than mpi4py's leads to: every process takes itself for the only one.
    environment = os.environ | {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    done = launch(0, "-m", "mpibatch", "filter", "in.h5::raw", "out.h5", "sobel", env=environment)
    assert done.returncode == 1
    assert "2 processes were started, but MPI sees one" in done.stderr
    assert not Path("out.h5").exists()


def test_names_in_a_file_do_not_steer_the_terminal(capsys):
    with h5py.File("names.h5", "w") as file:
        file["red\x1b[31m\nnext"] = np.zeros(3)
    assert main(["info", "names.h5"]) == 0
    assert main(["view", "names.h5::other", "x.png"]) == 2
    shown = capsys.readouterr()
    assert "red\\x1b[31m\\nnext" in shown.out
    assert "\x1b" not in shown.out + shown.err


def test_the_last_step_is_written_whatever_else_is(capsys):
    line = ["filter", "in.h5::raw", "out.h5", "median_filter:size=3,save=clean", "laplace:mode=wrap"]
    assert main([*line, "--quiet"]) == 0
    assert set(mb.open("out.h5")) == {"clean", "laplace"}
