"""Compiled loops: cached on disk, also when many ranks start at once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mpibatch.base.compiled import compiled
from mpibatch.base.compiler.imports import absent
from mpibatch.base.compiler.signatures import typed_once
from mpibatch.base.compiler.stamps import _parts
from mpibatch.base.errors import UsageError
from mpibatch.base.trust import guards

if TYPE_CHECKING:
    from tests.conftest import Launch

RANKS = 6
# Two loops with two signatures each, so that the ranks race for the index of each.
PROGRAM = """
import numpy as np
from mpi4py import MPI
from mpibatch.halo._loops.row_copies import pack, unpack
from mpibatch.base import timing
from mpibatch.base.compiled import compile_seconds
timing.reset()
before = compile_seconds()
MPI.COMM_WORLD.Barrier()
for dtype in (np.uint32, np.uint64):
    face, buffer = np.arange(40, dtype=dtype), np.zeros(20, dtype)
    back = np.zeros_like(face)
    with timing.phase("pack"):
        pack(face, buffer, 2, 20, 5, 4, 2)
        unpack(back, buffer, 2, 20, 5, 4, 2)
    assert (back == np.where(np.arange(40) % 4 < 2, face, 0)).all(), back
compiling, packing = timing.spent("compile"), timing.spent("pack")
# Clocks are read one after the other, and a busy machine may do something else between.
counted = compile_seconds() - before
assert abs(compiling - counted) < 0.1 * counted + 0.05, "the phase has what is counted"
assert packing < compiling or counted < 0.5, "and the phase around it has it not"  # else it was only loaded
print("missed", sum(sum(f.stats.cache_misses.values()) for f in (pack, unpack)))
"""


# What numba would import to see whether it is there, and a program's own function that needs it.
FRUGAL = """
import sys
import numpy as np
from mpibatch.base.compiled import compiled
@compiled
def first(a):
    return a[0]
assert first(np.ones(3)) == 1
assert not {"scipy", "coverage", "yaml"} & set(sys.modules), "none is needed"
import numba
@numba.njit
def product(a, b):
    return np.dot(a, b)
a = np.arange(9.0).reshape(3, 3)
assert (product(a, a) == a @ a).all()
import scipy.ndimage, coverage, yaml
"""


LOADED = """
import sys
import numpy as np
from mpibatch.base.compiled import compiled
@compiled
def made(a):
    return EXPRESSION
assert (made(np.arange(3.0)) == [0, 2, 4]).all()
assert "scipy.linalg" not in sys.modules
print("numba.np.arraymath" in sys.modules)
"""


def double(number: int) -> int:
    return 2 * number


@pytest.mark.skipif("coverage" in sys.modules, reason="what measures is imported, too")
def test_numba_starts_without_what_it_does_not_need(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "frugal.py").write_text(FRUGAL)
    done = launch(0, str(tmp_path / "frugal.py"))
    assert done.returncode == 0, done.stderr


def test_numba_reads_its_file_of_settings(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / ".numba_config.yaml").write_text("loop_vectorize: 0\n")
    done = launch(
        0,
        "-c",
        "from mpibatch.base.compiled import loaded_numba; print(loaded_numba()[1].LOOP_VECTORIZE)",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


@pytest.mark.parametrize(("expression", "again"), [("2 * a", "False"), ("a * (a.sum() - 1)", "True")])
def test_code_that_is_there_is_loaded_without_the_compiler(
    launch: Launch, tmp_path: Path, expression: str, again: str
) -> None:
    """And without numba's arrays, unless their own code is in it, as that of `sum`."""
    (tmp_path / "loaded.py").write_text(LOADED.replace("EXPRESSION", expression))
    environment = {**os.environ, "MPIBATCH_CACHE_DIR": str(tmp_path / "cache")}
    runs = [launch(0, str(tmp_path / "loaded.py"), env=environment) for _ in range(2)]
    assert [(done.returncode, done.stdout) for done in runs] == [(0, "True\n"), (0, f"{again}\n")], runs[1].stderr


def test_modules_are_absent_in_one_thread_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another may import scipy.ndimage while numba starts."""
    (tmp_path / "absentee").mkdir()
    for name in ("__init__", "part"):
        (tmp_path / "absentee" / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    with absent("absentee"), ThreadPoolExecutor(1) as other:
        with pytest.raises(ModuleNotFoundError, match="No module named 'absentee'"):
            importlib.import_module("absentee.part")
        assert other.submit(importlib.import_module, "absentee.part").result().__name__ == "absentee.part"
    assert sys.meta_path == before


OUTER = """
import sys
import numpy as np
from mpibatch.base.compiled import compiled
from parts import middle, FACTOR
@compiled
def outer(a):
    return middle(a[0]) + FACTOR * a[1]
print(outer(np.array([1.0, 10.0])), outer.stats.cache_hits)
"""
MIDDLE = """
from mpibatch.base.compiled import compiled
from leaves import leaf
FACTOR = 2.0
@compiled
def middle(x):
    return leaf(x) + 100.0
"""
LEAF = """
from mpibatch.base.compiled import compiled
@compiled
def leaf(x):
    return x * 1.0
"""


def test_code_is_compiled_anew_when_what_is_part_of_it_has_changed(launch: Launch, tmp_path: Path) -> None:
    """A constant, and a function two calls deep, in files of their own; that of the caller stays as it is."""
    environment = {**os.environ, "MPIBATCH_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    texts = {"outer": OUTER, "parts": MIDDLE, "leaves": LEAF}
    seen = []
    for changes in ({}, {}, {"parts": ("FACTOR = 2.0", "FACTOR = 3.00")}, {"leaves": ("x * 1.0", "x * 5.00")}, {}):
        for name, (old, new) in changes.items():
            texts[name] = texts[name].replace(old, new)
        for name, text in texts.items():
            path = tmp_path / f"{name}.py"
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        done = launch(0, str(tmp_path / "outer.py"), env=environment)
        assert done.returncode == 0, done.stderr
        seen.append(done.stdout.split(" ", 1)[0] + (" loaded" if ": 1" in done.stdout else " compiled"))
    assert seen == ["121.0 compiled", "121.0 loaded", "131.0 compiled", "135.0 compiled", "135.0 loaded"]


def test_stamps_tell_of_functions_that_numba_knows_by_others() -> None:
    from mpibatch.filters._loops import correlation, strips

    text = Path(strips.__file__).read_bytes()
    assert any(hashlib.sha256(text).hexdigest() in part for part in _parts(correlation.correlate_rows.py_func))


def test_ranks_that_start_together_compile_once_and_right(launch: Launch, tmp_path: Path) -> None:
    environment = {**os.environ, "MPIBATCH_CACHE_DIR": str(tmp_path)}
    first = launch(RANKS, "-c", PROGRAM, env=environment, timeout=120)
    assert first.returncode == 0, first.stderr
    missed = [int(line.split()[1]) for line in first.stdout.splitlines()]
    assert len(missed) == RANKS
    assert sum(missed) == 4, "each loop and signature is compiled by one rank only"
    # What is there is loaded without a lock, all of which this test has now.
    with contextlib.ExitStack() as writers:
        locks = [*(tmp_path / "locks").iterdir()]
        assert len(locks) == 3, "of each loop, and of what both call"
        for path in locks:
            fcntl.flock(writers.enter_context(path.open("r")), fcntl.LOCK_EX)
        again = launch(2, "-c", PROGRAM, env=environment, timeout=60)
    assert again.returncode == 0, again.stderr
    assert again.stdout.split() == ["missed", "0"] * 2


# Prints what it does to a folder but read it.
WRITES = """
import os, sys
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def heard(event, values):
    if event == "fcntl.flock" or (
        event in ("os.mkdir", "os.remove", "os.rename", "os.chmod", "os.utime", "tempfile.mkstemp")
        or (event == "open" and values[2] & WRITING)
    ) and str(values[0]).startswith(os.environ["MPIBATCH_CACHE_DIR"]):
        print(event, values[0])
sys.addaudithook(heard)
"""


def test_code_that_is_there_is_loaded_without_a_lock_or_a_file(launch: Launch, tmp_path: Path) -> None:
    environment = {**os.environ, "MPIBATCH_CACHE_DIR": str(tmp_path / "cache")}
    first, again = (launch(1, "-c", WRITES + PROGRAM, env=environment, timeout=120) for _ in range(2))
    assert {line.split()[0] for line in first.stdout.splitlines()} > {"fcntl.flock", "open", "os.mkdir", "missed"}
    assert again.stdout == "missed 0\n", again.stderr


def test_code_of_an_older_source_is_never_that_of_a_newer_index(launch: Launch, tmp_path: Path) -> None:
    """The index is written before the code: who reads between must not find code of the same name from before."""
    environment = {**os.environ, "MPIBATCH_CACHE_DIR": str(tmp_path / "cache")}
    seen = []
    for expression in ("2 * a", "2 * a + 0 * a"):
        (tmp_path / "loaded.py").write_text(LOADED.replace("EXPRESSION", expression))
        done = launch(0, str(tmp_path / "loaded.py"), env=environment)
        assert done.returncode == 0, done.stderr
        seen.append({path.name for path in (tmp_path / "cache").rglob("loaded.made-*.nbc")})
    old, new = seen
    assert (len(old), len(new), old & new) == (1, 1, set())  # what nobody asks for any more is gone
    # As if its code had not been written yet.
    for path in (tmp_path / "cache").rglob("loaded.made-*.nbc"):
        path.unlink()
    done = launch(0, str(tmp_path / "loaded.py"), env=environment)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert {path.name for path in (tmp_path / "cache").rglob("loaded.made-*.nbc")} == new


def test_a_cache_folder_that_cannot_be_written_is_replaced_by_a_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpibatch.base.compiled import _cache_folder, cache_folder

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MPIBATCH_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = cache_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == folder
    _cache_folder.cache_clear()  # as of another process
    folder.chmod(0o777)  # as another user could have left it
    assert cache_folder() != folder


def test_a_umask_that_lets_a_group_write_does_not_lock_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of users whose first group is a project's; the cache is made by the first of them to compile."""
    monkeypatch.setenv("MPIBATCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(guards, "_is_private", lambda _: False)
    umask = os.umask(0o002)
    try:
        for _ in range(2):
            assert compiled(double)(3) == 6
        assert os.umask(0o002) == 0o002
    finally:
        os.umask(umask)
    made = [*(tmp_path / "cache").rglob("*")]
    assert [path for path in made if path.suffix == ".nbc"]
    assert not [path for path in made if path.stat().st_mode & 0o022]


def test_what_only_compiled_loops_call_is_closed_to_python() -> None:
    """Also once another loop has compiled it: there would be no code behind the call."""
    from mpibatch.filters._loops import extrema
    from mpibatch.stencil.compiled.modules import load
    from mpibatch.stencil.compiled.wall_source import WALLS, code_of_edges

    cells = np.arange(6, dtype="i4").reshape(1, 6, 1)
    for _ in range(2):
        with pytest.raises(TypeError, match="only compiled functions call it"):
            extrema._combine(cells[0, 0], cells[0, 1], cells[0, 2], True)
        out = np.empty((1, 4, 1), "i4")
        extrema.slide_rows(cells[:, :1], cells[0, 1:5, 0], 4, 1, cells[:, 5:], out, 0, 1, 3, True)
        assert out.ravel().tolist() == [2, 3, 4, 5]
    assert code_of_edges(np.dtype("f8"))
    with pytest.raises(TypeError, match="edge has no way in from Python: only compiled functions call it"):
        load(WALLS).edge(np.zeros(3), 1, 0, np.zeros(3, "i8"), 0, np.zeros(3))


def test_what_only_compiled_loops_call_is_optimized_by_itself() -> None:
    """Though no machine code is made of it: as a part of others its loop may be left without vectors."""
    from numba import types

    from mpibatch.filters._loops import line_correlation

    line, number = types.float64[::1], types.uint64
    line_correlation._plain_4.compile((line, line, number, number, number, line))
    (code,) = line_correlation._plain_4.overloads.values()
    assert re.search(r"<\d+ x double>", str(code.library._final_module))


def test_an_environment_without_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core import config

    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    with pytest.raises(UsageError, match=r"NUMBA_DISABLE_JIT=1 was set.*unset it"):
        compiled(len)


def test_types_are_worked_out_once_and_numba_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba
    from numba.core.types.functions import BaseFunction

    kinds: list[str] = []
    theirs = BaseFunction.get_call_type

    def counted(function: Any, context: Any, args: Any, kws: Any) -> Any:
        kinds.append(f"{function.typing_key.__name__}{args}")
        return theirs(function, context, args, kws)

    monkeypatch.setattr(BaseFunction, "get_call_type", counted)

    @numba.njit("f4(f4[:], f4)")
    def plain(a: Any, b: Any) -> Any:
        return a[0] * b + a[1] * b + a[2] * b

    calls, before = len(kinds), BaseFunction.get_call_type
    assert calls > len(set(kinds))
    kinds.clear()
    with typed_once:
        with typed_once:
            assert BaseFunction.get_call_type is not before

        @numba.njit("f4(f4[:], f4)")
        def once(a: Any, b: Any) -> Any:
            return a[0] * b + a[1] * b + a[2] * b

    assert BaseFunction.get_call_type is before
    assert len(kinds) == len(set(kinds)) < calls
    assert once(np.arange(3, dtype="f4"), 2) == plain(np.arange(3, dtype="f4"), 2) == 6


CHANGED = """
import sys
import numpy as np
from pathlib import Path
from factor import times
if len(sys.argv) > 1:  # somebody edits the file of what this process has imported, and has not called yet
    Path("factor.py").write_text(Path("factor.py").read_text().replace("2.0", "3.00"))  # of another size
print(times(np.ones(1))[0])
"""
FACTOR = """
from mpibatch.base.compiled import compiled
@compiled
def times(a):
    return 2.0 * a
"""


THREADS = """
import contextlib, threading
import numpy as np
from mpibatch.base import compiled as module
from mpibatch.base.compiled import compiled
@compiled
def inner(a):
    return a[0] + 1.0
@compiled
def outer(a):
    return inner(a) * 2.0
@compiled
def itself(x, n):
    if n == 0:
        return 1.0 * x
    return itself(x + 0.5, n - 1)
locked, has_inner = module._locked, threading.Event()
@contextlib.contextmanager
def slowly(name):
    with locked(name):
        if threading.current_thread() is second and name.endswith("inner"):
            has_inner.set()
            first.join(1.0)  # has all the time to get where it wants this lock
        yield
module._locked = slowly
seen = []
first = threading.Thread(target=lambda: (has_inner.wait(), seen.append(outer(np.ones(3)))), daemon=True)
second = threading.Thread(target=lambda: seen.append(inner(np.ones(3))), daemon=True)
for thread in (first, second):
    thread.start()
for thread in (first, second):
    thread.join(30.0)
print(sorted(seen), itself(1, 2), module._held)
"""


def test_threads_and_loops_that_call_themselves_do_not_wait_for_ever(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "threads.py").write_text(THREADS)
    environment = {**os.environ, "MPIBATCH_CACHE_DIR": str(tmp_path / "cache")}
    done = launch(0, str(tmp_path / "threads.py"), env=environment, timeout=100)
    assert (done.returncode, done.stdout) == (0, "[2.0, 4.0] 2.0 set()\n"), done.stderr


def test_a_source_that_changes_while_a_process_runs_has_its_own_code(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "factor.py").write_text(FACTOR)
    (tmp_path / "changed.py").write_text(CHANGED)
    environment = {**os.environ, "MPIBATCH_CACHE_DIR": str(tmp_path / "cache")}
    runs = [launch(0, "changed.py", *more, cwd=tmp_path, env=environment) for more in (["edit"], [], [])]
    assert [done.stdout.strip() for done in runs] == ["2.0", "3.0", "3.0"], runs[0].stderr + runs[1].stderr


def test_a_cache_that_is_cleared_while_a_process_runs_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPIBATCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(guards, "_is_private", lambda _: False)
    loop = compiled(double)
    umask = os.umask(0o002)
    try:
        assert loop(3) == 6
        shutil.rmtree(tmp_path / "cache")
        assert loop(1.5) == 3.0
    finally:
        os.umask(umask)
    made = [*(tmp_path / "cache").rglob("*")]
    assert [path for path in made if path.suffix == ".nbc"]
    assert not [path for path in made if path.stat().st_mode & 0o022]


def test_code_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("MPIBATCH_CACHE_DIR", str(tmp_path / "cache"))
    loop = compiled(double)
    loop.attach()
    monkeypatch.setattr(loop._cache._cache_file, "_save_data", refuse)
    monkeypatch.setattr("mpibatch.base.compiled.cache_room", refuse)
    assert loop(3) == 6
    assert not [*(tmp_path / "cache").rglob("*.nb*")]
