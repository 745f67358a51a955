"""What linear filters share: the checks, the empty result, the passes along one axis after the other.

The filters have the names, parameters and bits of scipy.ndimage; each takes a Field and returns a new one. For all:

- The result is on the input's grid, has no halo, and the input's dtype unless `output` names another one. As in
  scipy, intermediate results of a filter of several passes are rounded to the output's dtype after each pass; cells of
  a bool result are True where scipy's are not 0 (scipy leaves other numbers than 0 and 1 in arrays of bool).
- Axes are grid axes. Component axes are never filtered: an RGB picture is filtered channel by channel, as scipy
  does with ``axes=(0, 1)``.
- `mode` is one of scipy's names (reflect, mirror, nearest, wrap, constant and the grid- synonyms), where a
  parameter per axis is allowed one per filtered axis; on a periodic axis of the grid it is ``wrap`` whatever is
  asked. `cval` is the value beyond walls of mode ``constant``.
- `output` is a dtype, or a Field that takes the result (see `mpibatch.filters._engine.outputs`).
- All are collective. Each pass sends at most two messages per rank: the cells within reach of the faces.

Raises UsageError for a parameter that is not valid, and UsageError or RunError for a kernel whose halo does not
fit into memory (see `mpibatch.filters._engine.memory`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.casts import cast
from mpibatch.base.timing import phase as timed
from mpibatch.fields.field import Field, check_field
from mpibatch.filters._engine.arguments import input_dtype, output_dtype
from mpibatch.filters._engine.lines import Pass, sweep

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["begin", "checked", "copied", "passes", "result_dtype", "truths"]

COMPUTE = timed("compute")


def checked(name: str, u: Any) -> None:
    """Raise UsageError unless `u` is a Field of a dtype that filters take. Local."""
    check_field(name, u)
    input_dtype(name, u.dtype)


def begin(name: str, u: Any, output: Any = None) -> Field:
    """Return the still empty result of a filter of `u`, after checking both dtypes; `output` if that is one. Local."""
    dtype = result_dtype(name, u, output)
    return output if isinstance(output, Field) else Field(u.grid, dtype, 0, u.components)


def result_dtype(name: str, u: Any, output: Any = None) -> np.dtype[Any]:
    """Check the field of a filter and the dtype of its result, and return that. Local."""
    checked(name, u)
    return output_dtype(name, output.dtype if isinstance(output, Field) else output, u.dtype)


def truths(out: Field) -> Field:
    """Return `out`, with every byte of a bool result that is not 0 set to 1. Local.

    scipy leaves any number in arrays of bool, and its passes read them as numbers: so only the last one is cleaned.
    """
    if out.dtype == np.bool_:
        np.not_equal(out.padded.view(np.uint8), 0, out=out.padded)
    return out


def copied(u: Field, out: Field) -> Field:
    """Copy the owned cells of `u` to `out`, cast as scipy does where no axis is filtered. Local."""
    with np.errstate(invalid="ignore"):
        out.owned[...] = cast(u.owned, out.dtype)
    return out


def passes(u: Field, out: Field, steps: Iterable[Pass], cval: float) -> Field:
    """Carry out passes along one axis after the other; without any, the field is copied. Collective.

    All passes but the first work in place on `out`.
    """
    source = u
    with COMPUTE:
        for step in steps:
            sweep(source, out, step, cval)
            source = out
    return truths(out) if source is out else copied(u, out)
