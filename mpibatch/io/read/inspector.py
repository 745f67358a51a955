"""Files of others, looked into by a process of its own.

The HDF5 library may crash on a damaged file, or never come back: of 7200 mutations of small files one ended in a
segmentation fault and two in endless loops (version 2.0; older ones are known to do worse). Other libraries may ask for
more memory than there is. A rank that ends so ends the whole job, and loses what it had computed. So rank 0 lets a
child process parse the file, and takes from it, as text and numbers, where the values lie; the ranks then read bytes.
The child costs about 0.3 s.

It is spared for a file whose seal tells that nothing but values has changed since we wrote it (a seal finds
accidents; a forger could set one), for a file that a child came back from before, for formats whose few bytes of header
are read here, and where no process can be started. What only a library can read (see `storage`) is parsed again by the
ranks, after the child has come back from it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import MpibatchError, RunError, UsageError
from mpibatch.io.base.names import split_path
from mpibatch.io.base.subfiles import flaw, place_of
from mpibatch.io.chunks.compression import Filter
from mpibatch.io.formats import OWN_PARSERS, check, format_of, inspect
from mpibatch.io.formats.orientation import View
from mpibatch.io.formats.source import Scaling, Source, Storage
from mpibatch.io.seal import seal
from mpibatch.io.seal.fronts import subfiles
from mpibatch.io.seal.manifest import pieces_outside
from mpibatch.io.vault.images import image_of
from mpibatch.io.vault.keyring import is_sealed, unlock

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LIMIT", "answer", "answer_all", "inspect_all", "inspect_safely", "is_safe_to_parse"]

LIMIT = 120  # seconds for the child
# What a seal covers besides values is hashed before it is trusted; of more than this, the child is as fast.
METADATA_BYTES = 64 << 20

# No module of the working directory, and what was added to the path by the program that asks.
_CHILD = """
import sys, json
asked = json.load(sys.stdin)
sys.path[:] = asked["sys_path"]
from mpibatch.io.read import inspector as apart
apart.answer(asked)
"""
_CHILD_OF_MANY = _CHILD.replace("apart.answer(", "apart.answer_all(")

_came_back: set[tuple[Any, ...]] = set()
_sound: set[tuple[Any, ...]] = set()  # fronts and subfiles


def inspect_safely(path: str, dataset: str | None, allow: Sequence[str] = (), *, tables: bool = False) -> Source:
    """Tell what a file holds, as `formats.inspect`, but survive the crash of a parser. Local."""
    file, inside = split_path(path, dataset)
    kind = format_of(file, inside)
    if kind in OWN_PARSERS or not sys.executable:
        return _inspect(file, kind, inside, allow, tables=tables)
    if kind == "hdf5" and is_sealed(file):
        # Whoever knows a recipient can make such a file: HDF5 sees it if its seal says that it is as it was written.
        unlock(file)
        if not is_safe_to_parse(file):
            raise RunError(f"{file!r} cannot be read: what is encrypted in it is damaged; restore it from a copy")
        return _inspect(file, kind, inside, allow, tables=tables)
    about = Path(file if kind != "stack" else Path(file).parent).stat()
    # What is allowed decides what is opened.
    key = os.path.realpath(file), inside, tuple(allow), about.st_ino, about.st_size, about.st_mtime_ns
    if key in _came_back or (kind == "hdf5" and is_safe_to_parse(file, METADATA_BYTES)):
        return _inspect(file, kind, inside, allow, tables=tables)
    child = _started(_CHILD)
    if child is None:
        return _inspect(file, kind, inside, allow, tables=tables)
    request = {"path": file, "dataset": inside, "allow": list(allow), "tables": tables, "sys_path": sys.path}
    source = _heard(child, kind, request)
    _came_back.add(key)
    if not source.columns:
        check(source)
    return source


def inspect_all(files: Sequence[str], dataset: str | None, allow: Sequence[str] = ()) -> list[Source]:
    """Tell what each of many files holds, all of them looked into by one child. Local. Raises for the first that fails.

    Each has the child's time for itself.
    """
    kinds = [format_of(file, dataset) for file in files]
    if set(kinds) <= OWN_PARSERS or not sys.executable:
        return [_inspect(file, kind, dataset, allow) for file, kind in zip(files, kinds, strict=True)]
    request = {"paths": list(files), "dataset": dataset, "allow": list(allow), "sys_path": sys.path}
    child = _started(_CHILD_OF_MANY)
    if child is None:
        return [_inspect(file, kind, dataset, allow) for file, kind in zip(files, kinds, strict=True)]
    try:
        out, err = child.communicate(json.dumps(request).encode(), timeout=(LIMIT + 5) * len(files))
    except subprocess.TimeoutExpired:
        out, err = b"", b""
    finally:
        child.kill()
        child.wait()
    replies, sources = io.BytesIO(out), list[Source]()
    for file, kind in zip(files, kinds, strict=True):
        head = replies.readline()
        if not head.endswith(b"\n"):
            raise _failure(file, kind, child.returncode, err)
        reply = json.loads(head)
        sources.append(_told(reply, replies.read(reply.get("table_bytes", 0))))
        check(sources[-1])
    return sources


def _started(program: str) -> subprocess.Popen[bytes] | None:
    """A child that runs this program; None where there can be no more processes, or none at all."""
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen([sys.executable, "-I", "-c", program], stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError:
        return None


def _inspect(file: str, kind: str, dataset: str | None, allow: Sequence[str], *, tables: bool = False) -> Source:
    """What a file holds, seen in this process."""
    if kind == "hdf5":
        check_subfiles(file)
    return inspect(file, dataset, allow, tables=tables)


def _heard(child: subprocess.Popen[bytes], kind: str, request: dict[str, Any]) -> Source:
    try:
        out, err = child.communicate(json.dumps(request).encode(), timeout=LIMIT + 5)
    except subprocess.TimeoutExpired:
        out, err = b"", b""
    finally:
        child.kill()
        child.wait()
    head, _, table = out.partition(b"\n")
    if child.returncode or not head:
        raise _failure(request["path"], kind, child.returncode, err)
    return _told(json.loads(head), table)


def _failure(path: str, kind: str, code: int, err: bytes) -> RunError:
    """The error that tells how a child ended that was to look into a file."""
    how = f"did not end within {LIMIT} s" if code in (-signal.SIGALRM, -signal.SIGKILL) else f"crashed ({-code})"
    if code >= 0:
        how = "failed: " + (err.decode(errors="replace").strip() or "no answer").splitlines()[-1]
    return RunError(
        f"{path!r} cannot be read as {'HDF5' if kind == 'hdf5' else kind}: the library {how}; it is damaged: copy it "
        "anew"
    )


def _told(reply: dict[str, Any], table: bytes) -> Source:
    """What a child says of a file; raises what it raised."""
    if "error" in reply:
        raise (UsageError if reply["usage"] else RunError)(reply["error"])
    return _source(reply, table)


def answer(request: dict[str, Any]) -> None:
    """Write on standard output what `inspect` says of a file. Local; the child's whole work."""
    _confine()
    _say(request, request["path"], tables=request["tables"])
    # Not through HDF5's cleaning up, which has its own ways to fail on a damaged file.
    os._exit(0)


def answer_all(request: dict[str, Any]) -> None:
    """Write on standard output what `inspect` says of each of many files, as far as it comes. Local."""
    _confine()
    for path in request["paths"]:
        signal.alarm(LIMIT)
        if not _say(request, path):
            break
    os._exit(0)


def _confine() -> None:
    """Limit what the child can take."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.alarm(LIMIT)
    warnings.simplefilter("ignore")  # they would be taken for what is wrong


def _say(request: dict[str, Any], path: str, *, tables: bool = False) -> bool:
    """Write what a file holds, or what is wrong with it; return whether it is right."""
    table = b""
    try:
        kind = format_of(path, request["dataset"])
        source = _inspect(path, kind, request["dataset"], request["allow"], tables=tables)
        reply = asdict(source)
        if source.storage is not None:
            table = source.storage.table.tobytes()
            reply["storage"] |= {"table": None, "fill": source.storage.fill.hex()}
            if (view := source.storage.view) is not None:
                palette = None if view.palette is None else view.palette.tolist()
                reply["storage"]["view"] |= {"palette": palette, "flipped": sorted(view.flipped)}
        reply["table_bytes"] = len(table)
    except MpibatchError as error:
        reply = {"error": str(error), "usage": isinstance(error, UsageError)}
    sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n" + table)
    sys.stdout.flush()
    return "error" not in reply


def _source(reply: dict[str, Any], table: bytes) -> Source:
    grid = {key: tuple(value) if isinstance(value, list) else value for key, value in reply["grid"].items()}
    storage = reply["storage"]
    if storage is not None:
        storage = Storage(
            dtype=storage["dtype"],
            offset=storage["offset"],
            chunks=tuple(storage["chunks"]),
            filters=tuple(Filter(entry["code"], tuple(entry["values"])) for entry in storage["filters"]),
            table=np.frombuffer(table, np.int64).reshape(-1, 3),
            fill=bytes.fromhex(storage["fill"]),
            view=_view(storage["view"]),
            scaling=Scaling(**storage["scaling"]) if storage["scaling"] else None,
            path=storage["path"],
        )
    plain = {key: reply[key] for key in ("path", "format", "dataset", "dtype", "components", "boxwise")}
    plain |= {key: reply[key] for key in ("columns", "attrs", "question")}
    known: dict[str, Any] = {key: tuple(reply[key]) for key in ("shape", "allow", "notes")}
    known["runs"] = tuple(tuple(run) for run in reply["runs"])
    return Source(**plain, **known, grid=grid, storage=storage)


def _view(reply: dict[str, Any] | None) -> View | None:
    if reply is None:
        return None
    known: dict[str, Any] = {key: tuple(reply[key]) for key in ("stored", "order", "names")}
    return View(
        **known,
        picks={int(axis): number for axis, number in reply["picks"].items()},
        flipped=frozenset(reply["flipped"]),
        components=reply["components"],
        letters=reply["letters"],
        palette=None if reply["palette"] is None else np.asarray(reply["palette"], np.uint8),
        white=reply["white"],
    )


def check_subfiles(file: str) -> None:
    """Refuse a front unless it, and its subfiles, are as they were written, in all but values. Local. RunError.

    HDF5 opens subfiles by itself, in whatever process reads the front. Of those that are missing, or others, whoever
    reads it is told.
    """
    names = subfiles(file)
    wrong = [] if not names or _is_sound(file) else ["it"]
    there = [name for name in names if not flaw(file, name)]
    wrong += [f"its subfile {name!r}" for name in there if not _is_sound(str(place_of(file, name)))]
    if wrong:
        raise RunError(f"{file!r} cannot be read: {wrong[0]} was changed, or damaged; restore it from a copy")


def _is_sound(file: str) -> bool:
    """Whether HDF5 may parse a front, or a subfile."""
    try:
        about = Path(file).stat()
    except OSError:  # replaced just now
        return False
    key = os.path.realpath(file), about.st_ino, about.st_size, about.st_mtime_ns
    if key not in _sound:
        if not is_safe_to_parse(file):
            return False
        _sound.add(key)
    return True


def is_safe_to_parse(file: str, most: int | None = None) -> bool:
    """Whether a seal tells that all that HDF5 would parse is as we wrote it. Local.

    Reads only that; with `most`, says no where it is more than so many bytes.
    """
    try:
        manifest = seal.unpack(*seal.read(file))
        pieces, todo = [], most if most is not None else manifest.size
        for start, stop in pieces_outside(manifest):
            pieces.append((start, stop))
            todo -= stop - start
            if todo < 0:
                return False
        if len(pieces) != len(manifest.hashes):
            return False
        with image_of(file) as image:
            known = zip(pieces, manifest.hashes, strict=True)
            return all(seal.hash_of(image.read, *piece) == hashed for piece, hashed in known)
    except (seal.Unsealed, ValueError, OSError):
        return False
