"""Where in the user's own program an error arose: that program's lines of the traceback, not ours or the libraries'."""

from __future__ import annotations

import sysconfig
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import MpibatchError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["of_program", "placed"]

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = tuple(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
MOST_LINES = 8


def placed(error: BaseException, program: str) -> str:
    """Return the lines of a traceback that are the user's, the last call last; "" if there are none. Local.

    `program` is the file of the program, whose lines are told even if it is one of ours.
    """
    own = Path(program).resolve()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, own)]
    lines = [
        f"  {_short(frame.filename)}:{frame.lineno}, in {frame.name}: {frame.line or ''}".rstrip(": ")
        for frame in frames[-MOST_LINES:]
    ]
    return "".join(f"\n{line}" for line in lines)


def _is_users(file: str, own: Path) -> bool:
    if file.startswith("<"):  # frozen or generated
        return False
    path = Path(file).resolve()
    is_library = any(path.is_relative_to(folder) for folder in (_PACKAGE, *_LIBRARIES))
    return path == own or not (is_library or {"site-packages", "dist-packages"} & {*path.parts})


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


@contextmanager
def of_program(name: str, file: str) -> Iterator[None]:
    """Let errors that leave the block tell where in the program they arose. Local.

    What is not raised on purpose becomes a RunError: the program's, not one of mpibatch's.
    """
    try:
        yield
    except MpibatchError as error:
        if lines := placed(error, file):
            error.args = (f"{error}{lines}", *error.args[1:])
        raise
    except OSError as error:
        raise RunError(f"the program {name!r} failed: {error}{placed(error, file)}") from error
    except MemoryError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise RunError(f"the program {name!r} failed: {words}{placed(error, file)}") from error
