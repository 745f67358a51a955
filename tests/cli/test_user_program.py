"""Errors in a user's own program show its lines, and ``--help`` its parameters."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mpibatch.base.log import logger
from mpibatch.cli import main
from mpibatch.cli._entry import run_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Launch

HELPER = """\
import numpy as np
import mpibatch as mb


def fail(how, u):
    if how == "zero":
        return 1 / 0
    if how == "usage":
        mb.filters.gaussian_filter(u, sigma=-1)
    if how == "library":
        np.linalg.inv(np.zeros((2, 3)))
    if how == "file":
        open("/absent/file")
    if how == "silent":
        raise AssertionError
    if how == "alone" and u.grid.rank == u.grid.size - 1:
        raise ValueError("only here")
"""
PROGRAM = '''\
"""A program that can fail.

Not shown.
"""
import sys
from dataclasses import dataclass
from typing import Literal
import their_helper
import mpibatch as mb
from mpibatch.simulate import Count, Positive


@dataclass(frozen=True)
class Parameters:
    shape: tuple[Count, ...] = (4, 6)
    speed: Positive = 1.5
    walls: Literal["open", "closed"] = "open"
    fail: str = "nothing"
    dt: Positive | None = None


def run(p, simulation):
    state = {"u": simulation.grid(p.shape).zeros()}
    for now in simulation.steps(state, dt=p.dt or 0.5):
        their_helper.fail(p.fail, state["u"])


if __name__ == "__main__":
    from mpibatch.cli._entry import run_program

    sys.exit(run_program(__file__))
'''
JOB = '[simulation]\nprogram = "theirs.py"\nsteps = 2\n[output]\npath = "out.h5"\n'
CALL = '  theirs.py:25, in run: their_helper.fail(p.fail, state["u"])'


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "theirs.py").write_text(PROGRAM)
    (tmp_path / "their_helper.py").write_text(HELPER)
    (tmp_path / "theirs.toml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("theirs", "theirs_program", "their_helper"):
        sys.modules.pop(name, None)
    logger().handlers.clear()
    logger().propagate = True


@pytest.mark.parametrize(
    ("how", "code", "first", "last"),
    [
        ("zero", 1, "the program 'theirs.py' failed: ZeroDivisionError: division by zero", "return 1 / 0"),
        ("usage", 2, "gaussian_filter: sigma = -1 is too small", "mb.filters.gaussian_filter(u, sigma=-1)"),
        ("library", 1, "failed: LinAlgError: ", "np.linalg.inv(np.zeros((2, 3)))"),
        ("file", 1, "failed: [Errno 2] No such file or directory: '/absent/file'", 'open("/absent/file")'),
        ("silent", 1, "the program 'theirs.py' failed: AssertionError\n", "raise AssertionError"),
    ],
)
def test_an_error_shows_the_lines_of_the_user(how, code, first, last, capsys):
    line = next(n for n, text in enumerate(HELPER.splitlines(), 1) if text.strip() == last)
    assert main(["run", "theirs.toml", "--quiet", "--set", f"simulation.fail={how}"]) == code
    message = capsys.readouterr().err
    assert first in message
    assert message.splitlines()[1:] == [CALL, f"  their_helper.py:{line}, in fail: {last}"]
    assert not [*Path().glob("*.part")]


def test_an_error_while_loading_shows_the_line(capsys):
    Path("theirs.py").write_text(PROGRAM.replace("import their_helper", "import their_helper, absent_thing"))
    assert main(["run", "theirs.toml"]) == 2
    message = capsys.readouterr().err
    assert "theirs.py:8, in <module>: import their_helper, absent_thing" in message
    sys.modules.pop("their_helper", None)
    Path("their_helper.py").write_text("x = (\n")
    assert main(["run", "theirs.toml"]) == 2
    assert "their_helper.py:1: not valid Python" in capsys.readouterr().err


def test_an_error_on_one_rank_shows_its_line(launch: Launch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    done = launch(2, "theirs.py", "--quiet", "--set", "simulation.fail=alone")
    assert done.returncode != 0
    assert done.stderr.count("ValueError: only here") == 1
    assert "in fail: raise ValueError" in done.stderr
    assert "on rank 1 of 2 alone" in done.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_shows_the_parameters_of_the_program(option, capsys):
    assert run_program("theirs.py", [option]) == 0
    shown = capsys.readouterr().out
    for words in (
        "usage: python theirs.py", "A program that can fail.\n", "theirs.toml", "shape = [4, 6]", "a whole number, 1",
        "speed = 1.5", "more than 0", 'walls = "open"', '"open" or "closed"', 'fail = "nothing"', "dt = none",
    ):  # fmt: skip
        assert words in shown
    assert "Not shown" not in shown


def test_help_of_a_program_starts_no_mpi():
    code = (
        "import sys; from mpibatch.cli._entry import run_program; code = run_program('bare.py', ['--help']); "
        "assert not {'mpi4py.MPI', 'h5py'} & {*sys.modules}; sys.exit(code)"
    )
    Path("bare.py").write_text(PROGRAM.replace("import their_helper\n", ""))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_of_what_is_no_program(capsys):
    Path("bare.py").write_text("x = 1\n")
    assert run_program("bare.py", ["--help"]) == 2
    assert "has no 'Parameters'" in capsys.readouterr().err


CYCLE = """
import gc
from dataclasses import dataclass
import mpibatch as mb
class Notes:
    def __init__(self):
        self.me = self
        self.file = open("notes.txt", "w", buffering=1)
    def __del__(self):
        self.file.write(f"looked for garbage at {gc.get_threshold()[0]}\\n")
@dataclass(frozen=True)
class Parameters:
    shape: tuple[int, ...] = (4, 4)
def run(parameters, simulation):
    u = simulation.grid(parameters.shape).zeros()
    for _ in simulation.steps({"u": u}, dt=1.0):
        Notes()
if __name__ == "__main__":
    import sys
    from mpibatch.cli import run_program
    sys.exit(run_program(__file__))
"""


@pytest.mark.parametrize("how", [["-m", "mpibatch", "run", "notes.toml"], ["notes.py"]])
def test_garbage_of_a_users_program_is_looked_for_as_usual(launch: Launch, tmp_path: Path, how: list[str]) -> None:
    """What is in a cycle, has its end when that is found: when Python ends, at last."""
    (tmp_path / "notes.py").write_text(CYCLE)
    (tmp_path / "notes.toml").write_text('[simulation]\nprogram = "notes.py"\nsteps = 1\n[output]\npath = "notes.h5"\n')
    done = launch(0, *how, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "notes.txt").read_text() == f"looked for garbage at {gc.get_threshold()[0]}\n"
