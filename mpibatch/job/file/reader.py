"""From the text of a job file to a checked Job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch.base.errors import RunError, UsageError, reason_of
from mpibatch.io.base.names import user_path
from mpibatch.job.document.caps import toml_document
from mpibatch.job.document.lines import KeyPath, key_lines
from mpibatch.job.document.problems import Place, Problems
from mpibatch.job.file.overrides import override
from mpibatch.job.file.schema import Job, build
from mpibatch.job.file.simulation import SimulationJob, build_simulation

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["parse", "parse_any", "read_text"]


def read_text(path: str) -> str:
    """Return the text of a job file. Local.

    Raises RunError if it cannot be read, UsageError if it is not text.
    """
    try:
        return Path(user_path(path)).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise RunError(f"the job file {path!r} does not exist; check the path") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"the job file {path!r} is not UTF-8 text (byte {error.start}); is it a TOML file?") from None
    except OSError as error:
        raise RunError(f"the job file {path!r} cannot be read: {reason_of(error)}") from None


def parse(text: str, source: str = "job", settings: Sequence[str] = ()) -> Job:
    """Return the pipeline that the text of a job file describes.

    Parameters
    ----------
    text : str
        In TOML, as `mpibatch.job` and the guide's chapter `jobs` describe it.
    source : str, default "job"
        What messages call the text, normally the file's name.
    settings : sequence of str, default ()
        Values in place of the text's, as ``KEY=VALUE``: "input.path='other.h5'", "smooth.sigma=3".

    Returns
    -------
    Job
        For `run`.

    Raises
    ------
    UsageError
        With everything that is wrong: unknown sections, keys, filters and parameters, wrong types and ranges, what is
        missing, each with its line and the nearest right name. Also for a simulation, or a batch, which only the
        commands ``mpibatch run`` and ``mpibatch batch`` run.

    Notes
    -----
    Local. Pure: no file is opened, and MPI is not needed.

    Examples
    --------
    >>> import mpibatch as mb
    >>> text = '''
    ... [input]
    ... path = "raw.h5"
    ... [[step]]
    ... filter = "gaussian_filter"
    ... sigma = 2
    ... [output]
    ... path = "smooth.h5"
    ... '''
    >>> mb.job.parse(text, settings=["gaussian_filter.sigma=3"]).steps[0].parameters
    {'sigma': 3}
    """
    job = parse_any(text, source, settings)
    if not isinstance(job, Job):
        raise UsageError(f"{source} is a simulation; a pipeline has [input] and [[step]]")
    return job


def parse_any(text: str, source: str = "job", settings: Sequence[str] = ()) -> Job | SimulationJob:
    """Return the job in a TOML text, with ``KEY=VALUE`` settings in place of what the text says. Local.

    `source` is what messages call the text, normally the file's name. Raises UsageError with everything that is
    wrong: unknown sections, keys, filters, programs and parameters, wrong types and ranges, what is missing, each with
    its line and the nearest right name.
    """
    document = toml_document(text, source)
    if "batch" in document:
        raise UsageError(f"{source} has a section [batch]: it is run for each item, by mpibatch batch {source}")
    places: dict[KeyPath, Place] = {path: (line, f"{source}:{line}") for path, line in key_lines(text).items()}
    problems = Problems(source, places)
    override(document, list(settings), places, problems)
    full_text = "\n".join([text.rstrip("\n"), *(f"# --set {s}" for s in settings), ""])
    if "simulation" in document:
        return build_simulation(document, problems, full_text)
    return build(document, problems, full_text)
