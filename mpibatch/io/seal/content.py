"""The content digest that a seal tells."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from mpibatch.io.seal import folders, seal
from mpibatch.io.seal.manifest import header_of
from mpibatch.io.vault.keyring import keyed

__all__ = ["content_of"]


def content_of(path: str) -> str | None:
    """Return the content digest that a sealed file, or folder, tells of itself, None without a seal. Local.

    Of an encrypted file under its own secret, so that it tells nothing to others. Cheap: reads the manifest only, and
    does not verify anything else.
    """
    header: dict[str, Any] = {}
    with contextlib.suppress(seal.Unsealed, ValueError):
        if Path(path).is_file():
            header, _ = header_of(seal.read(path)[0])
        elif Path(path).is_dir():
            header, _ = header_of(folders.read(path)[1])
    return keyed(path, header["content"]) if header else None
