"""Tables of a document, checked against what their keys may be: of job files, and of profiles of sites and machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import MpibatchError, nearest
from mpibatch.job.document import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mpibatch.job.document.checks import Check
    from mpibatch.job.document.problems import Problems

__all__ = ["Key", "keys_of", "table_of"]


@dataclass(frozen=True)
class Key:
    """One key of a table; `made` makes of an accepted value what is meant by it, and may refuse it, too."""

    check: Check
    required: bool = False
    made: Callable[[Any], Any] = lambda value: value


def table_of(document: Mapping[str, Any], name: str, keys: Mapping[str, Key], problems: Problems) -> dict[str, Any]:
    """Return the accepted keys of a section, noting what is wrong with the others. Local."""
    table = document.get(name, {})
    if not isinstance(table, dict):
        kind = "[[...]]" if isinstance(table, list) else checks.shown(table)
        problems.add((name,), f"{name} is {kind}; write it as a section [{name}]")
        return {}
    return keys_of(table, (name,), f"[{name}]", keys, problems)


def keys_of(
    table: Mapping[str, Any], path: tuple[str | int, ...], where: str, keys: Mapping[str, Key], problems: Problems
) -> dict[str, Any]:
    """Return the keys of `table` that `keys` accepts, noting what is wrong with the others. Local."""
    accepted = {}
    for key, value in table.items():
        if key not in keys:
            problems.add((*path, key), f"{where} has no key {key!r}{nearest(key, keys)}")
        elif wrong := keys[key].check(value):
            problems.add((*path, key), f"{where} {key} = {checks.shown(value)}; expected {wrong}")
        else:
            try:
                accepted[key] = keys[key].made(value)
            except MpibatchError as error:
                problems.add((*path, key), f"{where} {key}: {error}")
    for key, spec in keys.items():
        if spec.required and key not in table:
            problems.add(path, f"{where} needs the key {key!r}")
    return accepted
