"""The supervisor: what it reads from stacks, how it orders ranks; and on real ranks faults, healthy work, settings."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpibatch.base.progress.heartbeat import BYTES
from mpibatch.base.timing import phase
from mpibatch.base.units import ranks_text
from mpibatch.supervisor import page as page_module
from mpibatch.supervisor import watch
from mpibatch.supervisor.nodes import Notices
from mpibatch.supervisor.page import Kind, Node, RankState, grouped, page
from mpibatch.supervisor.rank import Rank
from mpibatch.supervisor.settings import DEFAULT, LONGER, SETTING, seconds_of_setting
from mpibatch.supervisor.stacks import Spot, StackFrame, frames_of, spot_of, wait_in
from mpibatch.tools.drill import hangs
from scripts import drill_hangs

Launch = Callable[..., subprocess.CompletedProcess[str]]
# Open MPI's set-up runs, of the unit tests, those that have this mark.
BOTH = [pytest.param("mpich", id="any"), pytest.param("openmpi", marks=pytest.mark.mpio)]
AT_ONCE = 4

LINES = {
    "comm.Barrier()": "Barrier",
    "total = self.grid.comm.allreduce(1)": "allreduce",
    "MPI.Request.Waitall(requests)": "Waitall",
    "request.wait()": "wait",
    "node = world.Split(0)": "Split",
    "a = np.add.reduce(values)": "",
    "words = text.split()": "",
    "lock.free(); gate.wait()": "",
    "def broken(:": "",
}


def test_a_line_that_waits_for_others_is_told_from_its_words(tmp_path: Path) -> None:
    for number, (line, name) in enumerate(LINES.items()):
        (tmp_path / f"{number}.py").write_text(f"{line}\n")
        assert wait_in(StackFrame(str(tmp_path / f"{number}.py"), 1, "f")) == name, line
    many = tmp_path / "many.py"
    many.write_text("x = f(\n    comm.bcast(\n        values,\n    ),\n    g(),\n)\n")
    assert [wait_in(StackFrame(str(many), line, "f")) for line in (1, 2, 3, 5)] == ["", "bcast", "bcast", ""]
    assert wait_in(StackFrame("<string>", 1, "f")) == ""


def test_a_rank_is_at_the_users_line_whatever_is_called_there(tmp_path: Path) -> None:
    with (tmp_path / "dump").open("w+") as file:

        def write() -> None:
            faulthandler.dump_traceback(file, all_threads=True)

        line = write.__code__.co_firstlineno + 1
        with phase("io"):  # that it is written in a phase changes nothing
            write()
        file.seek(0)
        dump = file.read()
    frames = frames_of(dump, threading.main_thread().ident or 0)
    assert (frames[0].file, frames[0].line, frames[0].function) == (__file__, line, "write")
    assert len(frames) > 5
    assert frames_of(dump, 1) == []
    assert spot_of(frames).at == frames[0]
    assert not spot_of(frames).waits
    inside = StackFrame(str(Path(page_module.__file__).parent.parent / "mpi/agreement.py"), 1, "agreed")
    assert spot_of([inside, *frames]) == Spot(frames[0], "mpibatch's agreed", waits=True, is_slow=False)


KINDS = st.sampled_from([*Kind.__args__])


@given(st.lists(st.tuples(KINDS, st.integers(1, 3)), min_size=1, max_size=12))
def test_who_keeps_others_waiting_comes_first_and_of_them_the_fewest(places: list[tuple[Kind, int]]) -> None:
    findings = [
        RankState(rank, 100 + rank, kind, f"step {line}", 0, (), Spot(StackFrame("x", line, "f"), "", False, False))
        for rank, (kind, line) in enumerate(places)
    ]
    groups = grouped(findings)
    assert sorted(finding.rank for group in groups for finding in group) == [*range(len(places))]
    assert all(len({places[finding.rank] for finding in group}) == 1 for group in groups)
    order = [(group[0].kind == "waits", len(group)) for group in groups]
    assert order == sorted(order)
    text = page(findings, Node("n", len(places), 1.0, True))
    ends = {True: " (process", False: ":"}
    names = [ranks_text([finding.rank for finding in group]) + ends[len(group) == 1] for group in groups]
    at = [text.index(f"\n{name}") for name in names]
    assert at == sorted(at)


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, seconds in {"": DEFAULT, "12.5": 12.5, "0": 0.0, "soon": DEFAULT, "inf": 0.0, "-1": 0.0}.items():
        monkeypatch.setenv(SETTING, text)
        assert seconds_of_setting() == seconds


def hello(message: bytes, sizes: tuple[int, ...], path: str) -> socket.socket:
    """Connect as a rank does, with files in memory of these sizes."""
    connection, files = socket.socket(socket.AF_UNIX), [os.memfd_create("test") for _ in sizes]
    connection.connect(path)
    for file, size in zip(files, sizes, strict=True):
        os.ftruncate(file, size)
    socket.send_fds(connection, [message], files)
    for file in files:
        os.close(file)
    return connection


@pytest.mark.parametrize(
    ("message", "sizes", "words"),
    [
        (b"[0, 1]", (BYTES, 0), "only 1 of 2 ranks came in 0.5 s"),
        (b"[0, ", (BYTES, 0), "does not tell its rank"),
        (b"7", (BYTES, 0), "does not tell its rank"),
        (b"[0, 1, 2]", (BYTES, 0), "does not tell its rank"),
        (b"[0, null]", (BYTES, 0), "does not tell its rank"),
        (b"[0, 1]", (BYTES,), "does not tell its rank"),
        (b"[0, 1]", (0, 0), "too little memory"),
    ],
)
def test_a_node_whose_ranks_do_not_all_come_or_are_strange_is_told_not_to_be_supervised(
    tmp_path: Path, message: bytes, sizes: tuple[int, ...], words: str
) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # the name of a socket is short
    task = {"ranks": 2, "world": 2, "seconds": 1.0, "ends": True, "folder": "", "node": "n", "first": 0}
    program = "from mpibatch.supervisor import watch, __main__ as m; watch.CONNECTING = 0.5; m.main()"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        listening.listen(2)
        number = listening.fileno()
        with hello(message, sizes, str(folder / "socket")):
            command = [sys.executable, "-c", program, json.dumps(task), str(number)]
            done = subprocess.run(command, pass_fds=(number,), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("mpibatch: the ranks on n are not supervised: "), done.stderr
    assert words in done.stderr
    assert not folder.exists()


def test_one_that_ends_before_all_have_come_is_told(tmp_path: Path) -> None:
    task = watch.WatchTask(2, 2, 1.0, True, "", "n", 0)
    program = "import os, sys; from tests.ranks.test_supervisor import hello, BYTES; "
    program += "hello(b'[0, 1]', (BYTES, 0), sys.argv[1])"
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        listening.bind(str(folder / "socket"))
        listening.listen(2)
        process = stack.enter_context(subprocess.Popen([sys.executable, "-c", program, str(folder / "socket")]))
        with pytest.raises(OSError, match="only 1 of 2 ranks came, and one of these has ended"):
            watch.connected(task, listening)
        assert process.wait() == 0


def test_a_killed_rank_is_not_taken_for_one_that_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection ends before the system says that it has: the supervisor may look in between."""
    program = "import sys, time; from tests.ranks.test_supervisor import hello, BYTES; "
    program += "connection = hello(b'[0, 1]', (BYTES, 0), sys.argv[1]); time.sleep(60)"
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        listening.bind(str(folder / "socket"))
        listening.listen(2)
        process = stack.enter_context(subprocess.Popen([sys.executable, "-c", program, str(folder / "socket")]))
        killed = Rank(listening.accept()[0])
        here = stack.enter_context(hello(b"[1, 1]", (BYTES, 0), str(folder / "socket")))
        left = Rank(listening.accept()[0])
        stack.callback(killed.close)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        here.close()
        watcher = watch.Watch(watch.WatchTask(2, 2, 1.0, True, "", "n", 0), [killed, left])
        connections = {killed.connection.fileno(), left.connection.fileno()}
        monkeypatch.setattr(watch, "_ready", lambda numbers, seconds: connections)
        watcher._wait(0.1)
        assert watcher._ranks == [killed]
        assert killed.has_ended


HANGS = """
import os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(Path(sys.argv[-1]) / f"pid-{os.getpid()}").touch()
if "child" not in sys.argv:
    subprocess.Popen([sys.executable, __file__, "child", sys.argv[-1]])
time.sleep(60)
"""


def test_the_drill_ends_a_job_whose_launcher_does_not_heed_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "launcher.py").write_text(HANGS)
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("MPIBATCH_MPIEXEC", f"{sys.executable} {tmp_path / 'launcher.py'}")
    monkeypatch.setattr(hangs, "LIMIT", 3.0)
    begin = time.monotonic()
    code, error, _ = drill_hangs.run("loop", 1.0, place)
    assert code == -signal.SIGKILL
    assert "is left" not in error
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("setup", BOTH)
def test_each_fault_is_named_and_no_healthy_run_is(setup: str) -> None:
    """Compiling and writing for longer than the limit is healthy. How soon faults are named: scripts/drill_hangs.py."""
    faults = [name for name, fault in hangs.FAULTS.items() if fault.code == hangs.HUNG]
    names = [*faults, *(drill_hangs.HEALTHY[1:] if setup == "mpich" else ())]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(names, pool.map(lambda name: drill_hangs.run(name, 1.5), names), strict=True))
    for name, (code, error, _) in results.items():
        assert "is left" not in error, error  # no rank, no supervisor
        if name in faults:
            assert code == hangs.HUNG, (name, error)
            lines = [line for line in error.splitlines() if line.startswith("rank")]
            assert lines[0].startswith("rank 1 (process"), error
            call = "load" if name == "load" else "max"
            assert lines[1].startswith(f"ranks 0, 2: waiting for others in mpibatch's {call}"), error
            silent = re.search(r"made progress for ([\d.]+) s", error)
            assert silent is not None, error
            assert float(silent[1]) < LONGER * 1.5, error  # named at the limit: nobody is in files, or compiles
            assert all(words in error for words in hangs.FAULTS[name].words), error
        else:
            assert (code, error) == (0, ""), (name, error)


NODES = """
import sys
import mpibatch as mb
comm = mb.mpi.MPI.COMM_WORLD
mb.supervise(1.0)
u = mb.Grid((12, 12)).full(1.0)
mb.max(u)
while comm.rank == 1:
    pass
mb.max(u)
"""


@pytest.mark.parametrize("late", ["1", "1, 2"])
def test_one_page_tells_of_all_nodes(launch: Launch, tmp_path: Path, late: str) -> None:
    """That of the node with the fault, or of the first such node: it ends the job."""
    program = tmp_path / "nodes.py"
    program.write_text(NODES.replace("comm.rank == 1", f"comm.rank in ({late},)"))
    # MPICH then takes even and odd ranks for those of two nodes.
    there = {"MPIR_CVAR_ODD_EVEN_CLIQUES": "1", "MPIBATCH_RECORD": str(tmp_path / "record")}
    done = launch(4, program.name, cwd=tmp_path, env={**os.environ, **there})
    assert done.returncode == 70, done
    assert done.stderr.count("has made progress for") == 1, done.stderr
    assert f"no rank on {socket.gethostname()} and 1 more has made progress" in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("rank")]
    at_work, waiting = ("rank 1 (process ", "ranks 0, 2-3: ") if late == "1" else ("ranks 1-2: ", "ranks 0, 3: ")
    assert lines[0].startswith(at_work), done.stderr
    assert lines[1].startswith(f"{waiting}waiting for others in mpibatch's max"), done.stderr
    assert f"nodes.py:8, in <module>: while comm.rank in ({late},):" in done.stderr
    pages = [path.read_text() for path in sorted(tmp_path.glob("hang-*.txt"))]
    assert len(pages) == 2
    assert any(page in done.stderr for page in pages)
    until = time.monotonic() + 10  # the other node's supervisor outlives its ranks for a moment
    while [*tmp_path.glob("hang-*.json")] and time.monotonic() < until:
        time.sleep(0.05)
    assert not [*tmp_path.glob("hang-*.json"), *tmp_path.glob("*.part")]


def test_notices_of_other_jobs_and_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    frame = StackFrame("a.py", 3, "f")
    spot = Spot(frame, "MPI's Barrier", waits=True, is_slow=False)
    states = [RankState(rank, 100 + rank, "waits", "step 3", 2, [frame], spot) for rank in (4, 6)]
    states.append(RankState(5, 105, "mute", "", 0))
    ours, theirs, foreign = (Notices(tmp_path, "n", n, job) for n, job in ((0, "a"), (4, "a"), (8, "b")))
    theirs.leave(states, acts=True)
    foreign.leave(states, acts=True)
    ours.leave([], acts=False)
    for name, text in (
        ("1", "{"),
        ("2", "[]"),
        ("3", '{"job": "a", "node": "n", "first": 9, "acts": 1, "groups": [1]}'),
    ):
        (tmp_path / f"hang-x-{name}.json").write_text(text)
    (report,) = ours.others()
    assert (report.first, report.acts) == (4, True)
    assert sorted(report.states, key=lambda state: state.rank) == sorted(
        (dataclasses.replace(state, node="n", stack=[*state.stack]) for state in states), key=lambda state: state.rank
    )
    theirs.withdraw()
    theirs.withdraw()
    assert ours.others() == []


PULSELESS = """
import logging
logging.basicConfig()
import mpibatch as mb
from mpibatch.base.progress import heartbeat
if mb.mpi.MPI.COMM_WORLD.rank == 1:
    heartbeat._descriptor = -1
mb.supervise(60.0)
print(mb.max(mb.Grid((3, 3)).full(2.0)))
"""


def test_a_rank_without_a_heartbeat_leaves_its_node_without_a_supervisor(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PULSELESS)
    done = launch(3, "program.py", cwd=tmp_path, timeout=30)
    assert (done.returncode, done.stdout.split()) == (0, ["2.0"] * 3), done.stderr
    assert done.stderr.count("are not supervised: one has no memory to share") == 1


LATE = """
from __future__ import annotations
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
import mpibatch as mb

@dataclass(frozen=True)
class Parameters:
    kills: bool = False

def run(p, simulation):
    grid = simulation.grid((12, 12))
    state = {"u": grid.full(1.0)}
    for now in simulation.steps(state, dt=0.1):
        if now.step == 1 and p.kills and grid.rank == 0:
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            assert len(children) == 1
            os.kill(int(children[0]), signal.SIGKILL)
        if now.step == 2 and grid.rank == 1:
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                pass
        mb.max(state["u"])
"""
JOB = """
[simulation]
program = "late.py"
steps = 4
[output]
path = "out.h5"
[supervise]
seconds = 1
end = false
"""


def test_a_job_that_is_left_goes_on_and_one_whose_supervisor_was_killed_too(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE)
    (tmp_path / "job.toml").write_text(JOB)
    command = ("-m", "mpibatch", "run", "job.toml", "--quiet")
    other = ("simulation.kills=true", "supervise.end=true", "output.path=other.h5")
    with ThreadPoolExecutor() as pool:
        killing = pool.submit(launch, 2, *command, *(word for key in other for word in ("--set", key)), cwd=tmp_path)
        left, killed = launch(2, *command, cwd=tmp_path), killing.result()
    assert left.returncode == 0, left
    assert left.stderr.count("has made progress for") == 1
    assert "the job is left as it is" in left.stderr
    assert "in a loop that does not end; step 3\n" in left.stderr
    assert (killed.returncode, killed.stderr) == (0, "")
    refused = launch(0, *command, "--supervise", "-1", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("is no time")) == (2, 1)
