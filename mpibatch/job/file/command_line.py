"""A pipeline on one line: ``IN.h5::raw OUT.h5::edges gaussian_filter:sigma=2,mode=wrap sobel``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.io.base.names import SEPARATOR, split_path
from mpibatch.job.document.problems import Place, Problems
from mpibatch.job.file.overrides import override, toml_value
from mpibatch.job.file.schema import Job, build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.job.document.lines import KeyPath

__all__ = ["job_of", "split_commas", "split_place", "split_step"]

_CLOSING = {"[": "]", "(": ")", "{": "}"}


def split_place(text: str) -> tuple[str, str | None]:
    """Return file and dataset of ``FILE::DATASET``; the dataset is None if it is not named. Local."""
    if text.endswith(SEPARATOR):
        raise UsageError(f"{text!r} names no dataset; write FILE or FILE{SEPARATOR}DATASET")
    return split_path(text)


def split_step(text: str) -> dict[str, Any]:
    """Return the step that ``filter:key=value,key=value`` describes, as a job file's section. Local."""
    name, _, rest = text.partition(":")
    step: dict[str, Any] = {"filter": name.strip()}
    if not step["filter"]:
        raise UsageError("a step begins with a filter's name, as in gaussian_filter:sigma=2")
    for item in split_commas(rest) if rest.strip() else []:
        key, equals, value = item.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{item.strip()!r} is not KEY=VALUE; write it as in gaussian_filter:sigma=2,mode=wrap")
        if key in step:
            raise UsageError(f"{key!r} is given twice")
        step[key] = toml_value(value)
    return step


def split_commas(text: str) -> list[str]:
    """Return the parts between commas outside of brackets and quotes. Local. UsageError."""
    items, begin, waiting, quote = [], 0, [], ""
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in _CLOSING:
            waiting.append(_CLOSING[letter])
        elif waiting and letter == waiting[-1]:
            waiting.pop()
        elif letter == "," and not waiting:
            items.append(text[begin:at])
            begin = at + 1
    if quote or waiting:
        raise UsageError(f"{text!r} has no closing {quote or waiting[-1]}")
    return [*items, text[begin:]]


def job_of(source: str, target: str, steps: Sequence[str], settings: Sequence[str] = ()) -> Job:
    """Return the job that reads `source`, applies `steps` in order and writes `target`, with ``--set`` values. Local.

    Raises UsageError with everything that is wrong.
    """
    places: dict[KeyPath, Place] = {}
    problems = Problems("", places)
    document: dict[str, Any] = {"step": []}
    for order, (section, text) in enumerate((("input", source), ("output", target))):
        places[(section,)] = (order, repr(text))
        try:
            path, dataset = split_place(text)
            document[section] = {"path": path} | ({"dataset": dataset} if dataset else {})
        except UsageError as error:
            problems.entries.append((order, str(error)))
    for number, text in enumerate(steps):
        places["step", number] = (2 + number, repr(text))
        try:
            document["step"].append(split_step(text))
        except UsageError as error:
            problems.entries.append((2 + number, f"step {number + 1}, {text!r}: {error}"))
    # What cannot be read would only cause mistakes that are none.
    problems.check()
    if document["step"] and "dataset" not in document["output"]:
        document["step"][-1].setdefault("save", True)  # an earlier step's `save` does not replace it
    override(document, list(settings), places, problems)
    words = ["mpibatch", "filter", source, target, *steps, *(word for s in settings for word in ("--set", s))]
    return build(document, problems, shlex.join(words))
