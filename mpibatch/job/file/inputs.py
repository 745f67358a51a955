"""What a pipeline reads, and which earlier results a step does.

Those of its `input`, of an expression, and those that a function takes by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.job.file.arithmetic import EXPRESSION, OPERATIONS, names_in, parsed
from mpibatch.job.file.functions import is_filter, results_taken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Input", "split_fields", "step_inputs"]


@dataclass(frozen=True)
class Input:
    """What is read: a file, a dataset in it where it can hold several, and how many of its last axes are components.

    `components` None: as saved; the colors of a picture; else 0. `region`: slices as text, None for all of it;
    `allow`, `series`, `level`, `frame`, `channel`, `identity` are as in `mpibatch.load`; the others describe plain
    bytes, as its `raw` does.
    """

    path: str
    dataset: str | None = None
    components: int | None = None
    region: str | None = None
    allow: Sequence[str] = ()
    frame: int | None = None
    channel: int | None = None
    series: int | None = None
    level: int | None = None
    dtype: str | None = None
    shape: Sequence[int] | None = None
    offset: int | None = None
    order: str | None = None
    byteorder: str | None = None
    identity: str | None = None

    @property
    def choices(self) -> dict[str, Any]:
        """What of the file is read, by `mpibatch.load`'s keywords. Local."""
        return {"series": self.series, "level": self.level, "frame": self.frame, "channel": self.channel}

    @property
    def raw(self) -> dict[str, Any] | None:
        """The description of plain bytes, None if there is none. Local."""
        words = {
            "dtype": self.dtype, "shape": self.shape, "offset": self.offset, "order": self.order,
            "byteorder": self.byteorder,
        }  # fmt: skip
        return {key: value for key, value in words.items() if value is not None} or None


def split_fields(chosen: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the plain parameters among those given to a function, and the results that it takes by name. Local."""
    taken = results_taken(chosen) if is_filter(chosen) else {}
    fields = {key: value for key, value in given.items() if key in taken and isinstance(value, str) and value}
    return {key: value for key, value in given.items() if key not in fields}, fields


def step_inputs(
    chosen: str, given: str | list[str] | None, default: str, parameters: Mapping[str, Any], fields: Mapping[str, str]
) -> tuple[list[str], dict[str, str], str]:
    """Return the results that a step reads, at least one, those by name, and what is wrong with them. Local.

    `given` is what its `input` says, and `default` what it reads without; `fields` are those that it names otherwise.
    """
    if chosen == EXPRESSION:
        names, wrong = _of_expression(parameters)
        return names, {}, wrong
    taken = [*results_taken(chosen)] if is_filter(chosen) else []
    rest = dict(fields)
    if taken and taken[0] in rest:
        first = rest.pop(taken[0])
        if given is not None:
            return [first], rest, f"input and {taken[0]} are the same; give one of them"
        given = first
    listed = [default] if given is None else [given] if isinstance(given, str) else list(given)
    takes = OPERATIONS[chosen][1] if chosen in OPERATIONS else 1
    if len(listed) == takes:
        return listed, rest, ""
    example = ", ".join(f'"{name}"' for name in ("a", "b", "c")[:takes])
    wrong = f"it reads {takes} results, and input names {len(listed)}; write input = [{example}]"
    if takes == 1 and len(taken) > 1:
        wrong = f'it reads one as input; name others by {", ".join(taken[1:])}, as in {taken[1]} = "a"'
    return listed or [default], rest, wrong


def _of_expression(parameters: Mapping[str, Any]) -> tuple[list[str], str]:
    """The results that an expression names, and what is wrong with it."""
    text = parameters.get(EXPRESSION)
    if not isinstance(text, str):
        return ["input"], ""  # which is told as a wrong parameter
    try:
        names = names_in(parsed(text))
    except UsageError as error:
        return ["input"], str(error)
    used = [name for name in names if name not in parameters]
    unused = [key for key in parameters if key != EXPRESSION and key not in names]
    if unused:
        return used or ["input"], f"the expression does not use {unused[0]!r}; remove the key or use it"
    return used or ["input"], "" if used else "the expression names no earlier step, nor input"
