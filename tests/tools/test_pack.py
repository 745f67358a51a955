"""The environment as one archive: unpacked anywhere, its Python runs mpibatch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from mpibatch.cli import main
from mpibatch.tools.slurm.software.archive import pack

JOB = '[simulation]\nprogram = "heat"\nshape = [8, 8]\nsteps = 2\n\n[output]\npath = "heat.h5"\n'


@pytest.mark.parametrize("kind", ["tar", "sqfs"])
def test_an_environment_runs_where_it_is_unpacked(tmp_path: Path, kind: str) -> None:
    """One without libraries, which the package does not need to tell its version."""
    if kind == "sqfs" and not (shutil.which("mksquashfs") and shutil.which("unsquashfs")):
        pytest.skip("needs mksquashfs and unsquashfs (squashfs-tools)")
    venv.create(tmp_path / "made", with_pip=False)
    archived = tmp_path / f"e.{kind}"
    count, size = pack(archived, tmp_path / "made")
    assert (count > 300, size) == (True, archived.stat().st_size)
    if kind == "tar":
        with tarfile.open(archived) as archive:
            about = archive.getmembers()
            assert {(member.uid, member.uname) for member in about} == {(0, "")}
            archive.extractall(tmp_path / "there", filter="tar")
    else:
        assert archived.read_bytes()[:4] == b"hsqs"
        listed = subprocess.run(["unsquashfs", "-lln", archived], capture_output=True, text=True, check=True).stdout
        lines = [line.split() for line in listed.splitlines() if line[:1] in ("-", "l")]
        assert (len(lines), {words[1] for words in lines}) == (count, {"0/0"})
        unpack = ["unsquashfs", "-no-progress", "-d", tmp_path / "there", archived]
        subprocess.run(unpack, check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(
        [tmp_path / "there" / "bin" / "python", "-m", "mpibatch", "--version"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stdout.startswith("mpibatch "), done.stderr
    again, _ = pack(tmp_path / f"f.{kind}", tmp_path / "made")
    assert again == count
    if kind == "tar":  # a squashfs tells when its folders were made
        assert (tmp_path / "f.tar").read_bytes() == archived.read_bytes()


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
