"""The environment as one archive: unpacked anywhere, its Python runs mpibatch."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.cli import main
from mpibatch.tools.slurm.software.archive import pack

if TYPE_CHECKING:
    import pytest

JOB = '[simulation]\nprogram = "heat"\nshape = [8, 8]\nsteps = 2\n\n[output]\npath = "heat.h5"\n'


def test_an_environment_runs_where_it_is_unpacked(tmp_path: Path) -> None:
    """One without libraries, which the package does not need to tell its version."""
    venv.create(tmp_path / "made", with_pip=False)
    count, size = pack(tmp_path / "e.tar", tmp_path / "made")
    assert (count > 300, size) == (True, (tmp_path / "e.tar").stat().st_size)
    with tarfile.open(tmp_path / "e.tar") as archive:
        about = archive.getmembers()
        assert {(member.uid, member.uname) for member in about} == {(0, "")}
        archive.extractall(tmp_path / "there", filter="tar")
    done = subprocess.run(
        [tmp_path / "there" / "bin" / "python", "-m", "mpibatch", "--version"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stdout.startswith("mpibatch "), done.stderr
    again, _ = pack(tmp_path / "f.tar", tmp_path / "made")
    assert (again, (tmp_path / "f.tar").read_bytes()) == (count, (tmp_path / "e.tar").read_bytes())


def test_submit_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.toml").write_text(JOB)
    command = ["submit", "job.toml", "--profile", "generic", "--dry-run", "--packed", "e.tar"]
    assert main(command) == 2
    assert "mpibatch pack e.tar" in capsys.readouterr().err
    Path("e.tar").write_text("")
    assert main(command) == 0
    script = capsys.readouterr().out
    assert f"sbcast --force {tmp_path}/e.tar" in script
    assert '"$unpacked/bin/python" -m mpibatch' in script


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(tmp_path / "e.zip")]) == 2
    if sys.prefix != sys.base_prefix:
        assert main(["pack", str(tmp_path / "none" / "e.tar")]) == 1
    assert not list(tmp_path.iterdir())
