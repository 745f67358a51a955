"""Compile a loop once per machine, however many ranks start at the same time.

`compiled` is numba's ``njit`` with the settings that keep the promise of equal bits (no ``fastmath``: its
vector body and its scalar tail differ) and a disk cache that is safe under concurrent starts. numba's own
cache writes each file atomically, but its index is read, changed and written without a lock, so that ranks
which compile together lose or mix up one another's entries (numba issue 10128). Here "look up, compile, store"
runs under a file lock: one rank compiles, and the others wait. What is there is loaded without one, and nothing
is written: on a folder that many nodes share, a start costs as many readings of files as there are loops in use,
which the system of a node does once for all its ranks.

The cache is in ``$MPIBATCH_CACHE_DIR``, else ``$XDG_CACHE_HOME/mpibatch``, else ``~/.cache/mpibatch``; a
folder per processor and host type is numba's own doing (its index is keyed by CPU name and features).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mpibatch.base.compiler.bitcode import link_only, link_what_is_loaded
from mpibatch.base.compiler.dispatchers import Absent, keep_from_python, load_alone, reading_only, unwritten
from mpibatch.base.compiler.imports import absent, import_arrays
from mpibatch.base.compiler.signatures import typed_once
from mpibatch.base.compiler.stamps import stamp
from mpibatch.base.errors import UsageError
from mpibatch.base.host import home
from mpibatch.base.timing import phase
from mpibatch.base.trust.guards import check_guarded

__all__ = [
    "CHOICES",
    "address_in_c",
    "cache_folder",
    "cache_room",
    "compile_seconds",
    "compiled",
    "compiled_in_c",
    "compiled_inline",
    "compiled_lean",
    "compiled_lean_many",
    "compiled_within",
    "interpret",
    "is_interpreted",
    "loaded_numba",
    "thread_count",
    "told_apart",
]

F = TypeVar("F", bound=Callable[..., Any])

# LLVM vectorizes a loop only if so few comparisons tell, at run time, that its arrays are apart: its default, and ours
# for kernels over many arrays (nine populations, read and written, take 170). Versions are those that were tried:
# an option that LLVM does not know would end the process.
CHECKS, MANY_CHECKS = 128, 1000
LLVM_VERSIONS = range(15, 23)

CHOICES = "choices"
ROOMS = (CHOICES, "locks", "numba", "stencils")  # folders in the cache

_loading = threading.RLock()  # numba, by one thread
_interpreted = False
_seconds = 0.0
_held: set[str] = set()  # loops whose lock this process has
_depth = 0  # compiling one loop compiles those that it calls, inside it


def cache_folder() -> Path:
    """Return the folder of compiled code, made if need be; a private temporary one if none can be written. Local.

    UsageError for one that others may write: code is loaded from it. Each is looked at once.
    """
    named = os.environ.get("MPIBATCH_CACHE_DIR")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "mpibatch"
    return _cache_folder(Path(named) if named else usual)


@functools.cache
def _cache_folder(base: Path) -> Path:
    try:
        for folder in (base, *(base / room for room in ROOMS)):
            if not folder.is_dir():
                folder.mkdir(mode=0o755, parents=True, exist_ok=True)  # not by numba, which has the umask's mode
            check_guarded(folder, "the cache of compiled code", "what it holds could be anybody's code")
        if os.access(base, os.W_OK | os.X_OK):
            return base
        raise PermissionError(base)
    except OSError:
        fallback = Path(tempfile.gettempdir()) / f"mpibatch-cache-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            fallback.mkdir(mode=0o700)
        # Code is loaded from here: never from a folder that somebody else made or can write to.
        about = fallback.lstat()
        if about.st_uid == os.getuid() and stat.S_ISDIR(about.st_mode) and not about.st_mode & 0o022:
            return fallback
        return Path(tempfile.mkdtemp(prefix="mpibatch-cache-"))


def cache_room(name: str) -> Path:
    """Return a folder in the cache to be written to, made anew if somebody has cleared it. Local. OSError."""
    folder = cache_folder() / name
    if not folder.is_dir():
        with _closed_to_others():
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def thread_count() -> int:
    """Return as many threads as the user, or a batch script, wants for each rank. Local. UsageError if that is none."""
    text = os.environ.get("NUMBA_NUM_THREADS", "1")
    if not text.isdecimal() or not int(text):
        raise UsageError(f"NUMBA_NUM_THREADS={text} was given as threads of each rank; give a whole number, 1 or more")
    return int(text)


def interpret() -> None:
    """Leave loops that are defined from now on as Python: for a rehearsal on a few cells, which keeps no values. Local.

    Not for results: casts and fused operations may round otherwise.
    """
    global _interpreted
    _interpreted = True


def is_interpreted() -> bool:
    """Whether loops stay Python in this process. Local."""
    return _interpreted


def compile_seconds() -> float:
    """Return the seconds that this process has spent compiling or loading compiled code, and the compiler. Local."""
    return _seconds


@contextlib.contextmanager
def _closed_to_others() -> Iterator[None]:
    """Make files that this user alone may write, also where a grant lets a group write new ones: code is such."""
    umask = os.umask(0o022)
    os.umask(umask | 0o022)
    try:
        yield
    finally:
        os.umask(umask)


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    from numba.core.compiler_lock import global_compiler_lock

    # numba's own lock first, which is held where one loop is compiled within another: two threads that took the two in
    # different orders would wait for each other for ever.
    with global_compiler_lock, _closed_to_others(), contextlib.ExitStack() as stack:
        if name in _held:  # it calls itself, with other types
            yield
            return
        _held.add(name)
        stack.callback(_held.discard, name)
        # Some parallel file systems refuse locks, and full ones new files: then atomic renames are all there is.
        with contextlib.suppress(OSError):
            lock = stack.enter_context(open(cache_room("locks") / name, "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_cached(dispatcher: Any, signature: Any) -> bool:
    """Whether the cache's index has code for a signature."""
    try:
        from numba.core import sigutils

        cache = dispatcher._cache
        key = cache._index_key(sigutils.normalize_signature(signature)[0], dispatcher.targetctx.codegen())
        return key in cache._cache_file._load_index()
    except Exception:
        # No part of numba's interface: with a version that has it otherwise, ranks load one after another.
        return False


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    """Count the time as that of compiling, and not of the computing, or packing, for which it is done.

    Garbage waits: a compiler makes millions of objects that it keeps; to look through them takes a tenth of its time.
    """
    global _depth, _seconds
    begin = time.perf_counter()
    _depth += 1
    is_collecting = gc.isenabled()
    gc.disable()
    is_main = threading.current_thread() is threading.main_thread()  # others have no phases
    try:
        with phase("compile") if is_main else contextlib.nullcontext():
            yield
    finally:
        if is_collecting:
            gc.enable()
        _depth -= 1
        if not _depth:
            _seconds += time.perf_counter() - begin


@contextlib.contextmanager
def _many_checks() -> Iterator[None]:
    import llvmlite.binding as llvm

    if llvm.llvm_version_info[0] not in LLVM_VERSIONS:
        yield
        return
    llvm.set_option("", f"-vectorize-memory-check-threshold={MANY_CHECKS}")
    try:
        yield
    finally:
        llvm.set_option("", f"-vectorize-memory-check-threshold={CHECKS}")


def compiled(function: F) -> F:
    """Compile `function` with numba at its first call, through the shared disk cache. Local.

    The loop keeps the source's order of operations (no re-association, no contraction), divides as NumPy
    does, releases the GIL, and does not check bounds. One whose name begins with an underscore is called by other
    compiled ones alone: what Python needs to call it, a fifth of the work of compiling, is left out.
    """
    return _compiled(function, contextlib.nullcontext)


def compiled_lean(function: F) -> F:
    """`compiled`, for a loop that makes no arrays: it does not count who refers to those that it has. Local."""
    return _compiled(function, contextlib.nullcontext, _nrt=False)


def compiled_lean_many(function: F) -> F:
    """`compiled_lean`, for a loop over so many arrays that LLVM would not vectorize it. Local."""
    return _compiled(function, _many_checks, _nrt=False)


def compiled_inline(function: F) -> F:
    """`compiled`, for a few lines that are put wherever they are called from: loops over calls make no vectors. Local.

    Left to itself LLVM calls what takes more than some fifty instructions.
    """
    return _compiled(function, contextlib.nullcontext, forceinline=True)


def compiled_in_c(function: F) -> F:
    """`compiled_lean`, for a loop that is called by its address: see `address_in_c`. Local."""
    return _compiled(function, contextlib.nullcontext, _nrt=False, no_cfunc_wrapper=False, no_cpython_wrapper=True)


def address_in_c(function: Any, types: tuple[Any, ...]) -> int:
    """Return where the code of a `compiled_in_c` for arguments of numba's types begins, as C calls it. Local."""
    function.compile(types)
    result = function.overloads[types]
    address: int = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
    return address


def compiled_within(function: F) -> F:
    """`compiled_lean`, for what is compiled as part of whatever calls it, and in no cache by itself. Local."""
    if _interpreted:
        return function
    numba, _ = loaded_numba()
    dispatcher = numba.njit(error_model="numpy", _nrt=False, no_cfunc_wrapper=True, no_cpython_wrapper=True)(function)
    keep_from_python(dispatcher)
    link_only(dispatcher)
    return dispatcher  # type: ignore[no-any-return]


def told_apart(function: F) -> F:
    """Let the compiler take it that what this compiled function writes is nothing that it reads otherwise. Local.

    As ``restrict`` in C; without, whether cells are apart is found out at run time, row by row.
    """
    compiler = getattr(function, "_compiler", None)
    customize = getattr(compiler, "_customize_flags", None)
    # No part of numba's interface: a version without it runs slower, and as right.
    if compiler is not None and customize is not None:

        def with_noalias(flags: Any) -> Any:
            flags = customize(flags)
            flags.noalias = True
            return flags

        compiler._customize_flags = with_noalias
    return function


def loaded_numba() -> tuple[Any, Any]:
    """Import numba and its settings; refuse those of the environment with which it cannot compile. Local."""
    with _loading:
        return _loaded_numba()


@functools.cache
def _needless() -> tuple[str, ...]:
    """What numba would import to look at its version, or to read settings from a file that is not there."""
    return ("coverage", "scipy", *(() if Path(".numba_config.yaml").exists() else ("yaml",)))


def _loaded_numba() -> tuple[Any, Any]:
    try:
        with absent(*_needless()):
            import numba
            from numba.core import config
    except ValueError as error:
        given = ", ".join(f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("NUMBA_"))
        raise UsageError(f"numba does not start with {given or 'its settings'}: {error}; correct or unset it") from None
    if config.DISABLE_JIT:
        raise UsageError(
            f"NUMBA_DISABLE_JIT={config.DISABLE_JIT} was set, and mpibatch's loops are to be compiled: as Python they "
            'are slow and may round otherwise; unset it, or write stencil(backend="numpy") to look into a kernel'
        )
    return numba, config


def _compiled(function: F, setting: Callable[[], contextlib.AbstractContextManager[None]], **options: Any) -> F:
    if _interpreted:
        return function
    with _counted():
        numba, _ = loaded_numba()
    is_inner = function.__name__.startswith("_")
    options = {"no_cfunc_wrapper": True, "no_cpython_wrapper": is_inner} | options
    dispatcher = numba.njit(nogil=True, error_model="numpy", **options)(function)
    if options["no_cpython_wrapper"]:
        keep_from_python(dispatcher)
    if is_inner:
        link_only(dispatcher)
    compile_one = dispatcher.compile
    name = f"{function.__module__}.{function.__qualname__}"

    attached: list[bool] = []

    def attach() -> bool:
        """Give it its place in the cache, if it has none yet; return whether code can be looked for there."""
        with _loading:
            if not attached:
                _attach(dispatcher)
                if is_inner:
                    link_what_is_loaded(dispatcher)
                attached.append(load_alone(dispatcher, with_memory=options.get("_nrt", True)))
        return attached[0]

    def compile_once(signature: Any) -> Any:
        with _counted(), typed_once, setting():
            is_read = attach()
            stamp(dispatcher)
            return _loaded_or_compiled(dispatcher, compile_one, signature, name, is_read=is_read)

    dispatcher.attach, dispatcher.compile = attach, compile_once
    return dispatcher  # type: ignore[no-any-return]


def _loaded_or_compiled(
    dispatcher: Any, compile_one: Callable[[Any], Any], signature: Any, name: str, *, is_read: bool
) -> Any:
    """The code for a signature; `is_read`: whether the cache is looked at before its lock is taken."""
    for _ in range(2):
        if is_read:
            # Files are replaced as wholes, and have the names of what is in them: no lock. OSError: a file server's, of
            # one that was replaced meanwhile.
            with contextlib.suppress(Absent, OSError), reading_only():
                return compile_one(signature)
        with _locked(name):  # one compiles, and the others wait until it has
            if not _is_cached(dispatcher, signature):
                import_arrays()
                return compile_one(signature)
    with _locked(name):  # the index has it, and it cannot be loaded
        import_arrays()
        return compile_one(signature)


def _attach(dispatcher: Any) -> None:
    _, config = loaded_numba()
    # numba reads its folder now; the user's own cached functions keep theirs.
    theirs, config.CACHE_DIR = config.CACHE_DIR, str(cache_folder() / "numba")
    try:
        # The folder of this function's module is made. RuntimeError: its text is no more, if somebody clears the cache.
        with contextlib.suppress(RuntimeError, OSError), _closed_to_others(), unwritten():
            dispatcher.enable_caching()
    finally:
        config.CACHE_DIR = theirs
