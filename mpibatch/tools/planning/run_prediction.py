"""Predicted against measured: what the machine's profile would have said of a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import MpibatchError
from mpibatch.base.units import bytes_text
from mpibatch.tools.planning import profile as profiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpibatch.job.file.schema import Job
    from mpibatch.job.file.simulation import SimulationJob
    from mpibatch.tools.planning.machine import Machine

__all__ = ["SCHEMA", "compared", "of_study", "predicted"]

SCHEMA = 1

_log = logging.getLogger(__name__)


def predicted(job: Job | SimulationJob, ranks: int, ranks_per_node: int = 0) -> dict[str, Any] | None:
    """Return what this folder's profile says of a run, None if it does not know the job. Local. Never raises.

    Keys: `schema`, `profile` (its name), `seconds_per_step` (the mean of all steps; of a pipeline: of all filters),
    `memory` (bytes of the fullest rank); and where they can be told `steps` and `seconds` (of the whole run).
    """
    path = profiles.default_path()
    try:
        if not path.exists():
            return None
        return _predict(job, profiles.load(path), ranks, ranks_per_node)
    except MpibatchError as error:
        _log.warning("there is no prediction of this run: %s", error)
    except Exception as error:
        # A run that has done its work does not fail because of a forecast.
        _log.warning("there is no prediction of this run: %s: %s", type(error).__name__, error)
    return None


def of_study(
    text: str, source: str, settings: Sequence[str], profile: Mapping[str, Any], ranks: int
) -> dict[str, Any] | None:
    """Return what a profile says of a study's point, as `predicted`. Local. Raises UsageError or RunError."""
    from mpibatch.job.file.reader import parse_any

    return _predict(parse_any(text, source, settings), profiles.parse(profile, source), ranks, 0)


def _predict(job: Job | SimulationJob, machine: Machine, ranks: int, ranks_per_node: int) -> dict[str, Any] | None:
    if not machine.work:
        return None
    # Late: most runs have no profile of their machine.
    from mpibatch.tools.planning.prediction import Model
    from mpibatch.tools.planning.work import subject_of

    subject = subject_of(job, machine)
    if subject.work is None:
        return None
    prediction = Model(subject, machine, ranks_per_node).at(ranks)
    record = {
        "schema": SCHEMA,
        "profile": machine.name,
        "seconds_per_step": prediction.mean_step(),
        "memory": prediction.memory,
        "steps": prediction.steps,
        "seconds": prediction.seconds,
    }
    return {key: value for key, value in record.items() if value is not None}


def compared(prediction: Mapping[str, Any], seconds_per_step: float, memory: int) -> str:
    """Return a line of what was predicted and what was measured. Local."""
    return (
        f"predicted {1e3 * prediction['seconds_per_step']:.4g} ms a step, measured {1e3 * seconds_per_step:.4g}; "
        f"memory {bytes_text(prediction['memory'])} a rank, measured {bytes_text(memory)}"
    )
