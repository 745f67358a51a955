"""The scripts of ``slurm/``: each template, rendered for the generic profile.

``python -m mpibatch.tools.slurm.examples slurm`` writes them anew after a template was changed.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.tools.slurm.profiles import load
from mpibatch.tools.slurm.renderer import render
from mpibatch.tools.slurm.request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["examples", "main"]

_HOUR = 3600
_JOB = Request(job="job.toml", name="run", nodes=2, ntasks_per_node=64, time=_HOUR, margin=120)
REQUESTS = (
    _JOB,
    dataclasses.replace(
        _JOB,
        name="array",
        kind="array",
        items=(
            ("output.path=weak.h5", "gaussian_filter.sigma=1"),
            ("output.path=middle.h5", "gaussian_filter.sigma=2"),
            ("output.path=strong.h5", "gaussian_filter.sigma=4"),
        ),
        at_once=2,
    ),
    dataclasses.replace(
        _JOB,
        job="study/job.toml",
        name="scaling",
        kind="scaling",
        point="study/points/r00128-t1",
        folder="study/points/r00128-t1/scratch",
        settings=("output.path=study/points/r00128-t1/scratch/out.h5",),
        repeat=5,
    ),
    dataclasses.replace(
        _JOB, job="simulation.toml", name="chain", kind="chain", checkpoints="simulation.h5.checkpoints"
    ),
    dataclasses.replace(
        _JOB, name="batch", kind="batch", command="batch", checkpoints="found.csv.journal", parts=4, at_once=2
    ),
)


def examples() -> dict[str, str]:
    """Return the text of each file of ``slurm/``. Local."""
    profile = load("generic")
    return {f"{request.kind}.sbatch": render(request, profile) for request in REQUESTS}


def main(arguments: Sequence[str]) -> int:
    """Write them into a folder. Local."""
    for name, text in examples().items():
        Path(arguments[0], name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
