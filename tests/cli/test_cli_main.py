"""The command line before any command runs: help, version, usage errors; and how errors end a command."""

import gc
import os
import subprocess
import sys
import time

import pytest

from mpibatch import __version__
from mpibatch.base.errors import RunError, UsageError
from mpibatch.base.log import logger, setup
from mpibatch.base.processes import launch
from mpibatch.base.processes.launch import launched
from mpibatch.cli import _entry, main
from mpibatch.cli._arguments import Parser
from mpibatch.cli._exit import guarded

HEAVY = {"mpi4py", "numba", "h5py", "numpy", "scipy", "rich", "PIL"}
COMMANDS = ("run", "filter", "info", "view")
MOST_MODULES = 320  # of which Python and argparse are most; what these take to load, scripts/bench_start.py measures


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No launcher, and the log as other tests expect it afterwards."""
    for name in [*os.environ]:
        if name.startswith(("PMI_", "PMIX_", "OMPI_", "SLURM_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(launch, "HEARD", 0.1)
    yield
    logger().handlers.clear()
    logger().propagate = True


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)])
def test_help_loads_little_and_nothing_heavy(arguments):
    code = f"""
import sys
from mpibatch.cli import main
code = main({arguments!r})
sys.stderr.write(" ".join(sorted(sys.modules)))
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    modules = done.stderr.split()
    assert HEAVY.isdisjoint(modules)
    assert len(modules) < MOST_MODULES


def test_garbage_is_looked_for_seldom_while_a_command_works_and_not_at_the_end(monkeypatch):
    code = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count() > 0))  # after what is registered later
from mpibatch.cli import main
sys.exit(main(GIVEN))
"""
    for given, is_frozen in (("", "True"), ('["--version"]', "False")):  # as its process's command, or as others'
        command = [sys.executable, "-c", code.replace("GIVEN", given), "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout.split()[-1]) == (0, is_frozen), done.stderr
    usual, seen = gc.get_threshold(), []

    def parser():
        seen.append(gc.get_threshold())
        return Parser()

    monkeypatch.setattr(_entry, "parser", parser)
    monkeypatch.setattr(launch, "_is_ours", True)  # whatever other tests have loaded
    monkeypatch.setattr(launch, "_freeze_at_exit", lambda: None)
    monkeypatch.setattr(sys, "argv", ["mpibatch", "--version"])
    assert main() == main(["--version"]) == 2  # an option that this parser does not know
    assert seen == [(launch.SELDOM, *usual[1:]), usual]
    assert gc.get_threshold() == usual


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_examples(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert f"mpibatch {command} " in shown


def test_the_main_help_documents_exit_codes(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "exit codes:" in shown
    assert all(command in shown for command in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mpibatch {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["run"], ["run", "a.toml", "--nonsense"], ["filter"], ["filter", "a.h5", "b.h5"]]
)
def test_a_wrong_command_line_is_a_usage_error(arguments, capsys):
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"])
def test_only_the_first_rank_prints(variable, monkeypatch, capsys):
    monkeypatch.setenv(variable, "1")
    assert launched() == (1, 2)
    assert main(["nonsense"]) == 2
    assert main(["--help"]) == 0
    assert main(["--version"]) == 0
    assert main(["filter", "a.h5", "b.h5"]) == 2
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [["nonsense"], ["filter", "a.h5", "b.h5", "no_filter"]])
def test_srun_does_not_end_the_first_rank_before_it_has_spoken(arguments, monkeypatch, capsys):
    seconds = []
    for rank in "01":
        monkeypatch.setenv("SLURM_PROCID", rank)
        begin = time.monotonic()
        assert main(arguments) == 2
        seconds.append(time.monotonic() - begin)
    assert seconds[1] > launch.HEARD
    assert capsys.readouterr().err.count("error: ") == 1


def test_the_launcher_tells_rank_and_size(monkeypatch):
    assert launched() == (0, 1)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert launched() == (0, 1), "a batch script is one process, whatever its allocation"
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    assert launched() == (0, 8)
    monkeypatch.setenv("PMI_RANK", "2")
    monkeypatch.setenv("PMI_SIZE", "3")
    assert launched() == (2, 3), "mpiexec inside a batch script wins"


def fails(error: BaseException):
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("sigma = -1"), 2, "mpibatch: error: sigma = -1\n"),
        (RunError("disk full"), 1, "mpibatch: error: disk full\n"),
        (FileNotFoundError(2, "No such file", "x.h5"), 1, "x.h5"),
        (MemoryError(), 1, "not enough memory"),
        (ModuleNotFoundError("No module named 'mpi4py'", name="mpi4py"), 1, "mpibatch[mpich]"),
        (ModuleNotFoundError("No module named 'PIL'", name="PIL"), 1, "mpibatch[image]"),
        (ImportError("libmpi.so.40: cannot open shared object file"), 1, "no MPI library was found"),
        (RuntimeError("cannot load MPI library"), 1, "mpibatch[mpich]"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("oops"), 1, "unexpected ZeroDivisionError: oops (--debug shows where)"),
    ],
)
def test_an_error_is_one_message_and_a_code(error, code, words, capsys):
    assert guarded(fails(error)) == code
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown
    assert guarded(fails(error), debug=True) == code
    assert "Traceback" in capsys.readouterr().err


def test_ranks_are_in_the_log(capsys):
    setup("info", rank=0, size=2)
    logger("io").info("from %d", 0)
    setup("info", rank=1, size=2)
    logger("io").info("not heard")
    logger("io").warning("from %d", 1)
    setup("debug", rank=1, size=2, quiet=True)
    logger("io").warning("not heard")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "[0/2] INFO mpibatch.io: from 0",
        "[1/2] WARNING mpibatch.io: from 1",
    ]
