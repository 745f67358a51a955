"""JSON files that are complete, or as they were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mpibatch.base.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["write_json"]


def write_json(path: Path, value: Mapping[str, Any], indent: int | None = 1) -> None:
    """Write a value as JSON: the file is complete, or as it was, also after a crash. Local. Raises OSError.

    Of two processes that write it at once, the later one's value is the file's. Names of files that are not UTF-8 are
    kept: what cannot be encoded is escaped, and read again as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(value, file, indent=indent, ensure_ascii=False)
        file.write("\n")
