"""Paths as users give them: one rule wherever a path is taken, and a clear word where it is not valid."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.base.errors import MpibatchError, RunError, UsageError
from mpibatch.io import describe, digest, read_slice
from mpibatch.io.base.names import output_path, split_path, user_path
from mpibatch.io.formats import inspect
from mpibatch.io.seal.verification import verify
from mpibatch.job.file.command_line import job_of
from mpibatch.job.file.reader import parse, parse_any, read_text
from mpibatch.tools.slurm import profiles

if TYPE_CHECKING:
    from collections.abc import Callable

JOB = '[input]\npath = "{}"\n[output]\npath = "{}"\n[[step]]\nfilter = "sobel"\n'
HEAT = '[simulation]\nprogram = "heat"\nsteps = 1\n[output]\npath = "{}"\n'
TAKERS: dict[str, Callable[[str], Any]] = {
    "inspect": inspect,
    "open": mb.open,
    "describe": describe,
    "digest": digest,
    "read_slice": lambda path: read_slice(path, None),
    "verify": verify,
    "output": output_path,
    "command line": lambda path: job_of(path, "out.h5", ["sobel"]),
    "job file": read_text,
}


@pytest.mark.parametrize("taker", TAKERS)
def test_paths_that_no_file_has(taker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = TAKERS[taker]
    monkeypatch.delenv("NOT_SET", raising=False)
    for path, words in {
        "a\0b.h5": "NUL character",
        os.fsdecode(b"a\xff.h5"): "not UTF-8",
        "~no-such-user/a.h5": "begins with ~no-such-user, but no such home",
        "$NOT_SET/a.h5": r"variable \$NOT_SET, which is not set",
        "${NOT_SET}.h5": r"variable \$\{NOT_SET\}, which",
    }.items():
        with pytest.raises(UsageError, match=words):
            take(path)
    lost = tmp_path / "lost"
    lost.mkdir()
    monkeypatch.chdir(lost)
    lost.rmdir()
    with pytest.raises(MpibatchError, match=r"working folder, which was removed; cd to"):
        take("a.h5")


def test_home_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUN", "seven")
    np.save(tmp_path / "seven.npy", np.arange(3))
    for path in ("~/seven.npy", "$HOME/$RUN.npy", "~/${RUN}.npy"):
        np.testing.assert_array_equal(read_slice(path, None), [0, 1, 2])
        assert split_path(f"{path}::a$b") == (f"{tmp_path}/seven.npy", "a$b")
    job = parse(JOB.format("~/$RUN.npy", "$HOME/out.h5"))
    assert (job.input.path, job.output.path) == (f"{tmp_path}/seven.npy", f"{tmp_path}/out.h5")
    assert parse_any(HEAT.format("~/$RUN.h5")).output == f"{tmp_path}/seven.h5"
    monkeypatch.chdir(tmp_path)
    np.save("$RUN.npy", np.arange(2))  # a file of this very name
    assert user_path("$RUN.npy") == "$RUN.npy"


def test_a_file_with_colons_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a::b.npy"
    np.save(path, np.arange(3))
    np.testing.assert_array_equal(read_slice(path, None), [0, 1, 2])
    assert job_of(str(path), "out.h5", ["sobel"]).input.path == str(path)


def test_links_in_a_circle_and_archives(tmp_path: Path) -> None:
    (tmp_path / "a.npy").symlink_to("b.npy")
    (tmp_path / "b.npy").symlink_to("a.npy")
    with pytest.raises(RunError, match="links form a loop"):
        inspect(str(tmp_path / "a.npy"))
    np.savez(tmp_path / "c.npz", a=np.arange(3))
    with pytest.raises(RunError, match=r"an \.npz archive; extract one array of it"):
        inspect(str(tmp_path / "c.npz"))


def test_outputs_in_the_name_of_other_formats() -> None:
    files: tuple[Callable[[str], Any], ...] = (output_path, lambda path: parse_any(HEAT.format(path)))  # of HDF5 alone
    fields: tuple[Callable[[str], Any], ...] = (
        lambda path: job_of("in.h5", path, ["sobel"]),
        lambda path: parse_any(JOB.format("in.h5", path)),
    )
    for names, takers in (
        (("a.mrc", "a.PNG", "b/a.nrrd"), files + fields),
        (("a.npy", "a.NII", "b/a.fits", "a.tif", "b/a.ome.tiff", "a.zarr"), files),
    ):
        for name, take in itertools.product(names, takers):
            with pytest.raises(UsageError, match=r"the output is HDF5, not .*; give a name such as"):
                take(name)
    for name, take in itertools.product(("a.npy", "a.NII", "b/a.fits", "a.tif", "b/a.ome.tiff", "a.zarr"), fields):
        assert take(name).output.path == name
    for name in ("a.h5", "a.hdf5", "a.nc", "a.he5", "a.hdf", "a.nxs", "a", "a.b", "run.1"):
        assert output_path(name) == name


def test_homes_in_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no home of ~no-such-user is known here; write the path out"):
        profiles.parse('venv = "~no-such-user/venv"\n', "a.toml", "a")
    monkeypatch.setenv("HOME", "/h")
    assert profiles.parse('venv = "~/venv"\n', "a.toml", "a").venv == "/h/venv"
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(
        Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory."))
    )
    assert profiles.known_profiles()
