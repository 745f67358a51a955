"""What a pipeline reads, and which earlier results a step does.

Those of its `input`, of an expression, and those that a function takes by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import UsageError
from mpibatch.job.file.arithmetic import EXPRESSION, OPERATIONS, names_in, parsed
from mpibatch.job.file.functions import is_filter, results_taken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Input", "Step", "split_fields", "step_inputs"]


@dataclass(frozen=True)
class Input:
    """What a pipeline reads. Its parameters are its attributes, and the keys of the section ``[input]``.

    Parameters
    ----------
    path : str
        The file, of any format that `mpibatch.load` reads.
    dataset : str, optional
        The dataset within a file that can hold several. Default: the only one.
    components : int, optional
        How many of the last axes are not decomposed. Default: as saved; the colors of a picture; else 0.
    region : str, optional
        The cells that are read, as slices in words: "10:200, ::4". Default: all.
    allow : sequence of str, default ()
        Hazards of the file that are not to be refused, as in `mpibatch.load`.
    frame, channel, series, level : int, optional
        What is read alone of a TIFF and its like, from 0, as in `mpibatch.load`. Default: all times and channels of the
        only series, on level 0.
    dtype : str, optional
        Of the values in a file of plain bytes, such as "u2"; the following parameters are for such files, too.
    shape : sequence of int, optional
        Their number along each axis.
    offset : int, optional
        Bytes before the first value. Default: 0.
    order : {"C", "F"}, optional
        Whether the last axis is contiguous in the file ("C"), or the first. Default: "C".
    byteorder : {"little", "big"}, optional
        Of the values. Default: that of `dtype`.
    identity : str, optional
        The key file for an encrypted file.

    Notes
    -----
    Local. `parse` makes it.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.job.Input("scan.raw", dtype="u2", shape=[90, 512, 512]).raw
    {'dtype': 'u2', 'shape': [90, 512, 512]}
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


@dataclass(frozen=True)
class Step:
    """A step of a pipeline: a function of one result or more. Its parameters are its attributes.

    Parameters
    ----------
    name : str
        Of its result, by which later steps read it.
    filter : str
        The function: of `mpibatch.filters`, or another that the guide's chapter `jobs` lists.
    input : str
        The result that it reads: the name of an earlier step, or "input", the file.
    parameters : mapping of str to object, default {}
        What is given to the function.
    save : str, optional
        The dataset that the result is written to. Default: it is not written.
    others : tuple of str, default ()
        Results that an operation or an expression reads after `input`.
    fields : mapping of str to str, default {}
        Results that the function takes by name, such as the `intensity` of a table.

    Notes
    -----
    Local. `parse` makes it.

    Examples
    --------
    >>> import mpibatch as mb
    >>> mb.job.Step("difference", "subtract", "smooth", others=("input",), save="difference").inputs
    ('smooth', 'input')
    """

    name: str
    filter: str
    input: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    save: str | None = None
    others: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """All results that it reads. Local."""
        return (self.input, *self.others, *self.fields.values())


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
