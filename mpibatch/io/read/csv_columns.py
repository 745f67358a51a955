"""Tables as comma-separated text, as people and other programs write them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, reason_of

if TYPE_CHECKING:
    import os

__all__ = ["csv_columns"]


def csv_columns(path: str | os.PathLike[str], place: str = "{path}:{line}") -> dict[str, list[str]]:
    """Return the text of each column, by the names in the first line; lines without anything are left out. Local.

    UsageError if it is no table, RunError if it cannot be read. `place` is how a message names a line; `row` counts
    from 1 below the names.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            (_, names), *rows = [(reader.line_num, row) for row in reader if row] or [(0, [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no comma-separated text ({error}); save it as CSV in UTF-8") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {reason_of(error)}") from None
    names = [name.strip() for name in names]
    if not names:
        raise UsageError(f"{path} is empty; a table begins with the names of its columns")
    if len(set(names)) != len(names):
        raise UsageError(f"{path} has columns of the same name; give each its own")
    for number, (line, row) in enumerate(rows, 1):
        if len(row) != len(names):
            where = place.format(path=path, line=line, row=number)
            raise UsageError(f"{where}: {len(row)} values for {len(names)} columns; give each a value")
    return {name: [row[at].strip() for _, row in rows] for at, name in enumerate(names)}
