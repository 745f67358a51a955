"""Scaling studies made up for tests: folders as mpibatch scale leaves them, with times by a law and given noise."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from mpibatch.base.json_files import write_json
from mpibatch.tools.scaling import folder as folders
from mpibatch.tools.scaling import study

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PHASES = {"compute": 0.7, "pack": 0.03, "halo": 0.12, "reduce": 0.02, "io": 0.08, "other": 0.05}


def record(
    ranks: int,
    total: float,
    repeat: int = 1,
    *,
    threads: int = 1,
    cells: int = 1_000_000,
    steps: int = 100,
    phases: dict[str, float] | None = None,
    imbalance: float = 1.02,
    **more: Any,
) -> dict[str, Any]:
    """One completion record of a simulation; `more` replaces what it says of the run."""
    parts = phases or PHASES
    seconds = {
        name: {
            "least": 0.98 * part * total,
            "median": part * total,
            "mean": part * total,
            "slowest": (imbalance if name == "compute" and ranks > 1 else 1.0) * part * total,
            "slowest_rank": ranks - 1,
        }
        for name, part in parts.items()
    }
    seconds["total"] = {"least": total, "median": total, "mean": total, "slowest": total, "slowest_rank": 0}
    run: dict[str, Any] = {
        "schema": 1,
        "kind": "simulation",
        "shape": [1000, cells // 1000],
        "topology": [ranks, 1],
        "cells": cells,
        "steps": steps,
        "ranks": ranks,
        "threads": threads,
        "seconds": seconds,
        "compile_seconds": 0.01,
        "laps": {"steps": 0.9 * total, "output": 0.1 * total},
        "traffic": {
            "messages": {"most": 200 if ranks > 1 else 0, "total": 200 * (ranks - 1)},
            "bytes": {"most": 1_600_000 if ranks > 1 else 0, "total": 1_600_000 * (ranks - 1)},
        },
        "kernels": [
            {"name": "heat", "flops": 7, "bytes": 16, "cells": cells * steps, "seconds": 0.7 * total, "calls": steps}
        ],
        "memory": {"most": 200_000_000 // ranks + 90_000_000, "mean": 200_000_000 // ranks + 80_000_000, "start": 8e7},
        "hosts": {"node1": ranks},
        "binding": {"cores": 1, "shared": False, "host_cores": 64},
        "mpi": "MPICH 5.0.2",
        "versions": {"python": "3.11.2", "numpy": "2.4.3", "mpibatch": "0.1"},
        "date": f"2026-01-01T00:{repeat:02d}:{min(ranks, 59):02d}+00:00",
    }
    digest = more.pop("digest", "d" * 64)
    return {"code": 0, "ranks": ranks, "digest": digest, "run": {**run, **more}}


def amdahl(ranks: int, serial: float = 0.05, alone: float = 8.0) -> float:
    return alone * (serial + (1 - serial) / ranks)


def noise(seed: int = 1, part: float = 0.01) -> Callable[[], float]:
    """Factors around 1, of a spread that is a part of it."""
    source = random.Random(seed)
    return lambda: 1 + part * source.gauss(0, 1)


def build(
    folder: Path,
    *,
    counts: Sequence[int] = (1, 2, 4, 8),
    repeat: int = 5,
    law: Callable[[int], float] = amdahl,
    factor: Callable[[], float] | None = None,
    mode: str = "strong",
    make: Callable[..., dict[str, Any]] = record,
    change: Callable[[dict[str, Any], int, int], Any] | None = None,
    **asked: Any,
) -> study.Study:
    """Write a study's folder and load it; `change(record, ranks, repeat)` may alter what is written, or return None."""
    factor = factor or noise()
    facts: dict[str, Any] = {
        "name": "heat", "job": '[simulation]\nprogram = "heat.py"\n', "source": "heat.toml", "commit": "0123abc",
        "versions": {"python": "3.11.2"}, "machine": {"host": "node1", "cpu": "A CPU", "cores": 64, "memory": 2**38},
        "profile_of_machine": {"schema": 1, "triad": {"1": 20.0, "2": 38.0, "4": 70.0}},
    }  # fmt: skip
    folders.create(folder, mode=mode, counts=counts, repeat=repeat, **{**facts, **asked})
    told = json.loads((folder / "study.json").read_text())
    told["created"] = "2026-01-01T00:00:00+00:00"
    (folder / "study.json").write_text(json.dumps(told))
    for number in range(1, repeat + 1):
        for ranks in counts:
            size = {"cells": 1_000_000 * ranks} if mode == "weak" else {}
            digest = {"digest": f"{ranks:064x}"} if mode == "weak" else {}
            made: dict[str, Any] | None = make(ranks, law(ranks) * factor(), number, **size, **digest)
            if change is not None:
                assert made is not None
                change(made, ranks, number)
            write_json(folders.record_path(folder, ranks, 1, number), made or {})
    return folders.load(folder)
