"""The files of compiled code, named by what is in them: so that who reads without a lock finds that, or nothing.

numba numbers them, and writes its index before the code: in between, and for ever after a writer that was killed there,
the index leads to what an older source, or another version of numba, has left under that number.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
from pathlib import Path
from typing import Any

__all__ = ["name_by_content"]

PARTS = ("_load_index", "_save_index", "_save_data", "_data_name_pattern", "_cache_path", "_version")


def name_by_content(file: Any, stamp: Any) -> None:
    """Let code of this stamp go into files of its own, each before the index tells of it. Local."""
    if not all(hasattr(file, part) for part in PARTS):  # no part of numba's interface
        return
    stem = file._data_name_pattern.partition("{")[0]
    mark = _digest((file._version, stamp))

    def save(key: Any, code: Any) -> None:
        name = f"{stem}{mark}.{_digest(key)}.nbc"
        file._save_data(name, code)
        known = file._load_index()
        file._save_index({**known, key: name})
        if not known:  # the first of this stamp: nobody will ask for those of the one before
            _clear(Path(file._cache_path), stem, mark)

    file.save = save


def _clear(folder: Path, stem: str, mark: str) -> None:
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{glob.escape(stem)}*.nbc"):
            if not path.name.startswith(f"{stem}{mark}."):
                path.unlink(missing_ok=True)


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
