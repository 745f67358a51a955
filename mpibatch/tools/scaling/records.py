"""Completion records of runs, parsed.

Those of other versions may lack anything: what is absent, or cannot be, reads as empty or zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Run", "number", "parse_run", "table_of"]

LARGEST = 2.0**63


@dataclass(frozen=True)
class Run:
    """One run: its completion record, parsed. `raw` is the whole record."""

    ranks: int
    threads: int
    repeat: int
    code: int = 0
    kind: str = ""
    cells: int = 0
    steps: int = 0
    shape: tuple[int, ...] = ()
    topology: tuple[int, ...] = ()
    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    compile_seconds: float = 0.0
    laps: Mapping[str, float] = field(default_factory=dict)
    traffic: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    kernels: tuple[Mapping[str, Any], ...] = ()
    memory: Mapping[str, float] = field(default_factory=dict)
    hosts: Mapping[str, int] = field(default_factory=dict)
    binding: Mapping[str, Any] = field(default_factory=dict)
    mpi: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    predicted: Mapping[str, Any] | None = None
    launch_seconds: float = 0.0  # from the launcher's start to its end: what a user waits
    date: str = ""
    digest: str = ""
    failure: str = ""  # of a run that failed: why, and its last lines
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def total(self) -> float:
        """Seconds of the slowest rank, without the start of Python and MPI; those of the launcher if not told."""
        return float(self.seconds.get("total", {}).get("slowest", 0.0)) or self.launch_seconds


def parse_run(raw: Mapping[str, Any], ranks: int = 0, threads: int = 1, repeat: int = 0) -> Run:
    """Return a completion record, parsed; ranks, threads and repeat are for one that does not tell them. Local."""
    account, point = table_of(raw, "run"), table_of(raw, "point")
    return Run(
        ranks=_whole(point.get("ranks")) or _whole(account.get("ranks")) or ranks or _whole(raw.get("ranks")),
        threads=_whole(point.get("threads")) or threads or _whole(account.get("threads")) or 1,
        repeat=_whole(point.get("repeat")) or repeat,
        code=raw["code"] if type(raw.get("code")) is int else 1,
        kind=_text(account, "kind"),
        cells=_whole(account.get("cells")),
        steps=_whole(account.get("steps")),
        shape=_wholes(account.get("shape")),
        topology=_wholes(account.get("topology")),
        seconds=_tables(account, "seconds"),
        compile_seconds=number(account.get("compile_seconds")),
        laps=_numbers(table_of(account, "laps")),
        traffic=_tables(account, "traffic"),
        kernels=tuple(_facts(kernel) for kernel in _list(account.get("kernels")) if isinstance(kernel, dict)),
        memory=_numbers(table_of(account, "memory")),
        hosts={host: max(1, int(ranks)) for host, ranks in _numbers(table_of(account, "hosts")).items()},
        binding=_facts(table_of(account, "binding")),
        mpi=_text(account, "mpi"),
        versions={name: value for name, value in table_of(account, "versions").items() if isinstance(value, str)},
        predicted=_facts(table_of(account, "predicted")) or None,
        launch_seconds=number(point.get("launch_seconds")),
        date=_text(account, "date") or _text(point, "date"),
        digest=_text(raw, "digest"),
        failure=_text(raw, "failure"),
        raw=raw,
    )


def table_of(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a table of a record; empty if there is none. Local."""
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _tables(raw: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    return {name: _numbers(value) for name, value in table_of(raw, key).items() if isinstance(value, dict)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return value if isinstance(value, str) else ""


def _is_number(value: Any) -> bool:
    """Whether it can be a time, a size or a count: a record may hold anything, NaN too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LARGEST


def number(value: Any) -> float:
    """Return a number of a record, or 0 for what can be none. Local."""
    return float(value) if _is_number(value) else 0.0


def _whole(value: Any) -> int:
    return int(value) if _is_number(value) else 0


def _wholes(value: Any) -> tuple[int, ...]:
    numbers = _list(value)
    return tuple(map(int, numbers)) if all(map(_is_number, numbers)) else ()


def _numbers(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if _is_number(value)}


def _facts(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if isinstance(value, str | bool) or _is_number(value)}
