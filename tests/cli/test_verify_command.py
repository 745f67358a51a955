"""``mpibatch verify``: what it says, and its exit codes, with and without mpiexec."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from mpibatch.cli import main
from mpibatch.io import verify
from mpibatch.io.seal import seal

if TYPE_CHECKING:
    from tests.conftest import Launch

U = np.random.default_rng(2).normal(size=(40, 30, 50))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """good.h5, broken.h5 and other.h5, which nobody sealed, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("good.h5", "broken.h5", "other.h5"):
        with h5py.File(name, "w") as file:
            file.attrs["mpibatch_layout"] = 1
            file["u"] = U
        if name != "other.h5":
            seal.append(name)
    content = bytearray(Path("broken.h5").read_bytes())
    content[content.index(U[20].tobytes()) + 5] ^= 1
    Path("broken.h5").write_bytes(content)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("good.h5", 0),
        ("broken.h5", 1),
        ("other.h5", 1),
        ("absent.h5", 1),
        (".", 1),
        ("good.h5 broken.h5", 1),
        ("broken.h5 good.h5", 1),
        ("absent.h5 good.h5", 1),
        ("good.h5 good.h5", 0),
        ("", 2),
        ("good.h5::u", 2),
        ("good.h5 --nothing", 2),
    ],
)
def test_exit_codes(arguments: str, code: int) -> None:
    for more in ([], ["--json"], ["--quiet"]):
        assert main(["verify", *arguments.split(), *more]) == code


@pytest.mark.usefixtures("files")
def test_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", "good.h5", "broken.h5", "other.h5", "absent.h5"])
    good, broken, region, other, why, absent = capsys.readouterr().out.splitlines()
    assert good == f"good.h5: whole, content {verify('good.h5').content}"
    assert (broken, region) == ("broken.h5: BROKEN", "  u[16:22, :, :]")
    assert other == "other.h5: BROKEN"
    assert why.startswith("  no seal: the file was not written by mpibatch, is unfinished, or was changed")
    assert absent.startswith("absent.h5: error: ")
    main(["verify", "--quiet", "good.h5"])
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("files")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", "--json", "good.h5", "broken.h5", "other.h5", "absent.h5"])
    good, broken, other, absent = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["whole"], good["datasets"], good["broken"]) == (True, ["u"], [])
    assert [(part["dataset"], part["what"]) for part in broken["broken"]] == [("u", "u[16:22, :, :]")]
    assert good["content"] == broken["content"]
    assert (other["whole"], other["content"], other["broken"][0]["dataset"]) == (False, None, None)
    assert "no such file" in absent["error"]


@pytest.mark.usefixtures("files")
def test_names_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File("good.h5", "w") as file:
        file["a\x1b[2J\nb"] = U
    seal.append("good.h5")
    content = bytearray(Path("good.h5").read_bytes())
    content[content.index(U.tobytes())] ^= 1
    Path("good.h5").write_bytes(content)
    main(["verify", "good.h5"])
    assert capsys.readouterr().out.splitlines()[1] == "  a\\x1b[2J\\nb[0:6, :, :]"


@pytest.mark.usefixtures("files")
def test_info_tells_of_the_seal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", "good.h5"])
    assert f"  sealed, content {verify('good.h5').content}\n" in capsys.readouterr().out
    main(["info", "other.h5"])
    assert "NOT SEALED" in capsys.readouterr().out
    main(["info", "other.h5", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (document["sealed"], document["content"]) == (False, None)
    np.save("a.npy", U)
    main(["info", "a.npy"])
    assert "SEALED" not in capsys.readouterr().out


@pytest.mark.usefixtures("files")
def test_it_needs_neither_mpi_nor_hdf5() -> None:
    code = "import sys; sys.modules.update(dict.fromkeys(('mpi4py', 'h5py'))); from mpibatch.cli import main\n"
    for file, expected in (("good.h5", 0), ("broken.h5", 1)):
        program = f"{code}sys.exit(main(['verify', {file!r}]))"
        assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == expected


@pytest.mark.usefixtures("files")
def test_under_mpiexec(launch: Launch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["verify", "--json", "good.h5", "broken.h5", "other.h5", "absent.h5"]
    alone = main(arguments), capsys.readouterr().out
    together = launch(3, "-m", "mpibatch", *arguments)
    assert (together.returncode, together.stdout) == alone
    assert launch(2, "-m", "mpibatch", "verify", "good.h5").returncode == 0
