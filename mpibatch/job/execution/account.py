"""What a run measured of itself, over all ranks: the part "run" of the completion record.

All of it is small whatever the number of ranks. Seconds of phases are exclusive and add up to the total; "halo" is the
time in which messages are started and waited for, and "pack" that of the copies on both sides.
"""

from __future__ import annotations

import json
import os
import resource
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base import tally
from mpibatch.base.compiled import compile_seconds
from mpibatch.base.timing import PhaseStat, gathered
from mpibatch.base.trust import privacy
from mpibatch.io.write.provenance import mpi_line, versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.job.execution.pipeline import Summary
    from mpibatch.mpi import MPI, Hosts

__all__ = ["SCHEMA", "Begin", "account", "peak_memory"]

SCHEMA = 1


class Begin:
    """When a run began, and what its libraries took until then."""

    def __init__(self) -> None:
        self.date = datetime.now(UTC).isoformat(timespec="seconds")
        self.memory = peak_memory()
        self.compiling = compile_seconds()
        self.starting = _age()


def _age() -> float:
    """Seconds since this process was started; 0 where the system does not tell."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def peak_memory() -> int:
    """Return the most bytes of memory that this process had at a time so far. Local."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def account(
    comm: MPI.Intracomm, summary: Summary, stats: Sequence[PhaseStat], hosts: Hosts | None, began: Begin
) -> dict[str, Any] | None:
    """Return the account of a run on rank 0, None elsewhere. Collective: a broadcast and a gather, both small.

    `stats` and `hosts` are what `timing.summary` and `hosts_of` returned.
    """
    names = [name for name, _ in summary.seconds]
    kernels = [(work.name, work.flops, work.bytes, work.threads) for work in tally.works()]
    # Ranks of other communicators may have had other kernels: those of rank 0 are told.
    names, kernels = comm.bcast((names, kernels), root=0)
    laps, works = dict(summary.seconds), {(w.name, w.flops, w.bytes, w.threads): w for w in tally.works()}
    messages, nbytes = tally.traffic()
    mine: dict[Any, float] = {
        "messages": messages,
        "bytes": nbytes,
        "memory": peak_memory(),
        "start": began.memory,
        "compiling": compile_seconds() - began.compiling,
        "starting": began.starting,
        "reductions": tally.reductions(),
        **{("lap", name): laps.get(name, 0.0) for name in names},
    }
    for key in kernels:
        work = works.get(key)
        mine |= {(key, "cells"): work.cells if work else 0, (key, "seconds"): work.seconds if work else 0.0}
    rows = gathered(comm, [*mine.values()])
    if rows is None or hosts is None:
        return None
    columns = dict(zip(mine, rows.T, strict=True))

    def most_and_total(name: str) -> dict[str, int]:
        return {"most": int(columns[name].max()), "total": int(columns[name].sum())}

    return {
        "schema": SCHEMA,
        "kind": summary.kind,
        "shape": list(summary.shape),
        "topology": list(summary.topology),
        "cells": int(np.prod(summary.shape, dtype=object)),
        "steps": summary.steps,
        "ranks": comm.size,
        "threads": tally.threads(),
        "seconds": {stat.name: _over_ranks(stat) for stat in stats},
        "start_seconds": _seconds(columns["starting"].max()),
        "compile_seconds": _seconds(columns["compiling"].max()),
        "laps": {name: _seconds(columns["lap", name].max()) for name in names},
        "traffic": {"messages": most_and_total("messages"), "bytes": most_and_total("bytes")},
        "exchanges": [
            {"lap": lap.name, **need.to_json(times)}
            for lap in tally.exchanges()
            for need, times in lap.exchanges.items()
        ],
        "reductions": int(columns["reductions"].max()),
        "kernels": [
            {
                "name": name,
                "flops": flops,
                "bytes": each,
                "cells": int(columns[(name, flops, each, threads), "cells"].sum()),
                "seconds": _seconds(columns[(name, flops, each, threads), "seconds"].max()),
                "calls": works[name, flops, each, threads].calls,
            }
            for name, flops, each, threads in kernels
        ],
        "memory": {
            "most": int(columns["memory"].max()),
            "mean": int(columns["memory"].mean()),
            "start": int(columns["start"].max()),
        },
        "hosts": privacy.numbered(hosts.ranks),
        "binding": {"cores": hosts.cores, "shared": hosts.shared, "host_cores": os.cpu_count() or 1},
        "mpi": mpi_line(),
        "versions": json.loads(versions()),
        "date": began.date,
    }


def _over_ranks(stat: PhaseStat) -> dict[str, float]:
    return {
        "least": _seconds(stat.least),
        "median": _seconds(stat.median),
        "mean": _seconds(stat.mean),
        "slowest": _seconds(stat.slowest),
        "slowest_rank": stat.slowest_rank,
    }


def _seconds(value: float) -> float:
    """Microseconds are enough."""
    return round(float(value), 6)
