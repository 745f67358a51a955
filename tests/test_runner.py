"""The runner of the MPI tests itself: what goes wrong on one rank must end the run, red, with everybody's stack."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts._run_tests import parse
from scripts._runner import coverage
from scripts._runner.coverage import steps_measured
from scripts._runner.pace import FEW, SHORT, loop_seconds, sentence
from scripts._runner.results import Results
from scripts._runner.setups import files_with, setup_mpich, setup_openmpi, share_of, unit_parts
from scripts._runner.steps import pytest_command

REPOSITORY = Path(__file__).resolve().parent.parent
# Five lines: the tests below count on it.
HEAD = """import ctypes
import pytest
from mpi4py import MPI
COMM = MPI.COMM_WORLD
pytestmark = pytest.mark.mpi
"""
MOST_SECONDS = 30.0


def run(folder: Path, text: str, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a test file of its own under the real runner (default: on two ranks), each test limited to 3 seconds."""
    (folder / "conftest.py").write_text((REPOSITORY / "tests" / "conftest.py").read_text())
    (folder / "test_scratch.py").write_text(HEAD + text)
    runner = [sys.executable, "-m", "scripts._run_tests", *(options or ("--only", "mpi", "--ranks", "2"))]
    begin = time.monotonic()
    done = subprocess.run(
        [*runner, "--test-limit", "3", str(folder)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=99, env=env,
    )  # fmt: skip
    assert time.monotonic() - begin < MOST_SECONDS
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param(
            "def test_deadlock():\n    COMM.recv(source=1 - COMM.rank)\n",
            ["line 7 in test_deadlock", "rank 0 of 2", "rank 1 of 2", "a test got stuck"],
            id="deadlock",
        ),
        pytest.param(
            "def test_alone():\n    assert COMM.rank != 1, 'only here'\n    COMM.Barrier()\n",
            ["line 8 in test_alone", "AssertionError: only here", "a test got stuck"],
            id="one rank fails before a collective",
        ),
        pytest.param(
            # Through a library call that keeps the GIL: no Python code of this rank runs any more.
            "C = ctypes.PyDLL(None)\ndef test_gil():\n    while COMM.rank:\n        C.sleep(9)\n    COMM.Barrier()\n",
            ["line 9 in test_gil", "line 10 in test_gil", "a test got stuck"],
            id="one rank keeps the GIL",
        ),
    ],
)
def test_stuck(tmp_path: Path, text: str, lines: list[str]) -> None:
    done = run(tmp_path, text)
    assert done.returncode == 1, done
    for line in lines:
        assert line in done.stdout + done.stderr, line
    assert done.stdout.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_what_one_rank_alone_finds_wrong_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    text = """
def test_fails_on_rank_1():
    assert COMM.rank != 1, "only here"

@pytest.fixture
def fragile():
    yield
    assert COMM.rank != 1, "in teardown"

def test_teardown_fails_on_rank_1(fragile):
    pass

def test_skipped_on_rank_1():
    if COMM.rank == 1:
        pytest.skip("not here")

def test_goes_on(shared_tmp, tmp_path):
    assert COMM.allreduce(1) == 2
    assert len(set(COMM.allgather(shared_tmp))) == 1
    assert len(set(COMM.allgather(tmp_path))) == 2

@pytest.mark.mpi(min_size=3)
def test_wide():
    raise AssertionError("is for three ranks")

@pytest.mark.skip(reason="needs the moon: wait for the night")
def test_moon():
    pass
"""
    done = run(tmp_path, text)
    assert done.returncode == 1, done
    for line in ("AssertionError: only here", "AssertionError: in teardown", "rank 1 skipped", "needs more ranks"):
        assert line in done.stdout, line
    assert "not run: 1 test: needs the moon: wait for the night" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 passed, 3 failed, 1 skipped"


def test_ranks_that_collect_different_tests_are_told(tmp_path: Path) -> None:
    done = run(tmp_path, "if COMM.rank == 1:\n    import no_such_module\n\ndef test_fine():\n    pass\n")
    assert done.returncode == 1, done
    assert "No module named 'no_such_module'" in done.stdout + done.stderr


def test_a_run_without_tests_is_red(tmp_path: Path) -> None:
    done = run(tmp_path, "")
    assert done.returncode == 1, done
    assert "no test was executed" in done.stdout


UNIT = "def test_unit():\n    print('the unit test')\n"


@pytest.mark.slow
def test_a_failure_beside_the_unit_tests_is_a_failure(tmp_path: Path) -> None:
    """The MPI tests on one rank run at the same time; what they say comes after, whole."""
    (tmp_path / "test_unit.py").write_text(UNIT)
    text = "def test_wrong():\n    assert not 'wrong'\n\ndef test_deadlock():\n    COMM.recv(source=0)\n"
    done = run(tmp_path, text, "--only", "tests", "--setup", "mpich", "--ranks", "1")
    assert done.returncode == 1, done
    assert done.stdout.index("mpich: unit tests") < done.stdout.index("mpich: MPI tests, 1 rank")
    for line in ("assert not 'wrong'", "line 10 in test_deadlock", "FAILED: a test got stuck"):
        assert line in done.stdout, line
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"


def test_every_file_is_in_one_part_of_the_unit_tests() -> None:
    parts = unit_parts(parse([]))
    found = sorted(path for part in parts for path in part.paths)
    assert found == sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "tests").rglob("test_*.py"))
    assert len(unit_parts(parse(["tests/io/test_io.py"]))) == 1


def test_no_file_with_mpi_tests_is_left_out() -> None:
    """The marks are looked for in the text: there is one way to write them."""
    files = {str(path.relative_to(REPOSITORY)): path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py")}
    assert not [file for file, text in files.items() if re.search(r"^from pytest import", text, re.MULTILINE)]
    with_mpi = files_with("mpi")
    assert {file for file in files if file.endswith("_mpi.py")} <= set(with_mpi)
    assert len(with_mpi) < len(files) / 2
    openmpi = setup_openmpi()
    assert set(openmpi.mpi_paths()) == set(openmpi.paths) & set(with_mpi)


CASES = """
@pytest.mark.parametrize("a", [0, 1])
@pytest.mark.parametrize("b", [0, 1])
def test_case(a, b):
    pass

def test_one_case():
    pass

def test_another():
    pass

def test_a_third():
    pass

def test_a_fourth():
    pass

@pytest.mark.parametrize("topology", [(1, 2), (2, 1)], ids=str)
def test_topology(topology):
    pass

@pytest.mark.mpi(min_size=4)
@pytest.mark.parametrize("a", [0, 1])
def test_four(a):
    pass

@pytest.mark.mpi(min_size=5)
@pytest.mark.parametrize("a", [0, 1])
def test_five(a):
    pass
"""
# On every number of ranks that has so many: cases that are others on each, and those that a share could not run.
ALWAYS = {"test_topology[(1, 2)]", "test_topology[(2, 1)]"}
ALWAYS |= {f"test_{name}[{a}]" for name in ("four", "five") for a in (0, 1)}


def test_every_case_is_in_its_shares_and_none_is_left_out_where_ranks_are_named(tmp_path: Path) -> None:
    (tmp_path / "test_cases.py").write_text("import pytest\n" + CASES)
    (tmp_path / "conftest.py").write_text((REPOSITORY / "tests" / "conftest.py").read_text())
    command = ["--rootdir", str(tmp_path), "--co", "-q", str(tmp_path)]
    shares = [[], *([f"--share={share}"] for share in ("0/2", "1/2", "0/4", "1/4", "2/4", "3/4"))]
    program = f"import pytest\nfor share in {shares}:\n    pytest.main({command} + share)\n"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    runs = re.findall(r"((?:^test_cases.py::.+\n)+)", done.stdout, re.MULTILINE)
    counts = [{line.partition("::")[2] for line in run.splitlines()} for run in runs]
    assert counts[1] == ALWAYS | {"test_case[0-0]", "test_case[1-1]", "test_one_case", "test_a_fourth"}
    assert counts[2] == ALWAYS | {"test_case[0-1]", "test_case[1-0]", "test_another", "test_a_third"}
    assert counts[0] == counts[1] | counts[2]
    assert [*map(len, counts[3:])] == [len(ALWAYS) + 2] * 4
    assert (counts[3] | counts[5], counts[4] | counts[6]) == (counts[1], counts[2])
    # Of 6 and of 4 ranks, and of 2 and of 3: either value of the last parameter is on one of them.
    for one, another in ((counts[3], counts[4]), (counts[5], counts[6])):
        assert {case.rpartition("-")[2] for case in (one | another) - ALWAYS} >= {"0]", "1]"}
    whole = [share_of(setup_mpich(), ranks, parse([])) for ranks in (0, 1, 2, 3, 4, 6)]
    assert whole == [None, "0/4", "2/4", "3/4", "1/4", "0/4"]
    assert [share_of(setup_openmpi(), ranks, parse([])) for ranks in (0, 2, 3)] == [None, "0/2", "1/2"]
    for some in (["--ranks", "2"], ["-k", "x"], ["tests/io"]):
        assert share_of(setup_mpich(), 2, parse(some)) is None


def test_cases_that_depend_on_the_number_of_ranks_are_told_by_the_name_of_their_parameter() -> None:
    """That of which the runner keeps all (tests/conftest.py)."""
    marks = [
        (file, mark)
        for file in files_with("mpi")
        for mark in ast.walk(ast.parse((REPOSITORY / file).read_text()))
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize"
    ]
    of_ranks = [
        (file, mark) for file, mark in marks if names_in(mark.args[1]) & {"RANKS", "SIZE", "size", "topologies"}
    ]
    assert len(of_ranks) > 5
    assert not [f"{file}:{mark.lineno}" for file, mark in of_ranks if "topology" not in ast.unparse(mark.args[0])]


def names_in(node: ast.AST) -> set[str]:
    """Return the names in an expression that is evaluated at once: not those in functions."""
    own = {getattr(node, "id", ""), getattr(node, "attr", "")}
    return own.union(*(names_in(each) for each in ast.iter_child_nodes(node) if not isinstance(each, ast.Lambda)))


def test_every_case_is_measured() -> None:
    """One number of ranks stands for all of them."""
    for given, shares in (([], {1: 1, 2: 1, 3: 1, 6: 1}), (["--coverage"], {1: 1, 2: 1, 3: 0, 6: 1})):
        for ranks, count in shares.items():
            command = pytest_command(setup_mpich(), ranks, parse(given), None)
            assert sum(word.startswith("--share=") for word in command) == count
            assert ("coverage" in command) == (ranks == 3 and given == ["--coverage"])


def test_a_time_is_told_with_the_speed_that_the_cores_had() -> None:
    """Half of the time they were quiet, half of it at a third of that speed."""
    looks = [0.02, 0.06] * FEW
    assert 0 < loop_seconds() < 10
    assert sentence(SHORT - 1, 100, looks) == []
    assert sentence(1200, 2100, looks[: FEW - 1]) == ["whole run: 1200 s, 2100 s of CPU"]
    (line,) = sentence(1200, 2100, looks)
    assert line.startswith("whole run: 1200 s, 2100 s of CPU; the cores ran at 67 % of their best speed on average")
    assert line.endswith("(a loop that takes 20 ms took 40 in the median), so on quiet ones about 800 s")


@pytest.mark.parametrize("options", ["--only checks", "--setup openmpi", "--only mpi --ranks 2"])
def test_coverage_of_nothing_is_refused(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--coverage", *options.split()])
    assert "neither is to be run" in capsys.readouterr().err
    parse(["--coverage", "--only", "mpi", "--ranks", "2 3"])
    parse(["--coverage", "--ranks", "2"])


def test_the_summary_names_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_measured({0, 3}, is_whole=True) == "unit tests and MPI tests on 3 ranks"
    assert steps_measured({3}, is_whole=False) == "some of the MPI tests on 3 ranks"
    results = Results()
    monkeypatch.setattr(coverage, "FOLDER", tmp_path)
    coverage.add_coverage(results, is_whole=True)
    assert "FAILED: nothing was measured" in results.lines[0]


@pytest.mark.parametrize(("setup", "code"), [("all", 0), ("openmpi", 1)])
def test_a_setup_that_cannot_be_made_is_told(tmp_path: Path, setup: str, code: int) -> None:
    """On a machine without Debian's packages the rest runs; but it is no success to have run nothing."""
    programs, tests = tmp_path / "bin", tmp_path / "tests"
    programs.mkdir()
    tests.mkdir()
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(str(shutil.which(name)))
    (tests / "test_unit.py").write_text(UNIT)
    options = ("--only", "unit", "--setup", setup)
    done = run(tests, "", *options, env={**os.environ, "PATH": str(programs)})
    assert done.returncode == code, done
    assert "cannot be made here: no Debian or Ubuntu" in done.stdout
    assert "scripts/test.sh --setup openmpi" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "1 passed, 0 failed, 0 skipped" if code == 0 else "0 passed, 1 failed, 0 skipped"
    )
