"""Windows without cells: sizes below 1, empty or false footprints, structures, weights and axes, against scipy."""

from __future__ import annotations

import inspect
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage

import mpibatch as mb
from mpibatch import filters

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURE = np.arange(30.0).reshape(6, 5) % 7
NAMES = [name for name in filters.names() if hasattr(ndimage, name)]
GIVEN: dict[str, dict[str, Any]] = {
    "rank_filter": {"rank": 0},
    "percentile_filter": {"percentile": 50},
    **{name: {"sigma": 1} for name in NAMES if name.startswith("gaussian")},
}
SIZES = (0, -1, (0, 3), (3, 0), (0, 0), (-1, 3), (1, 0), ())
SHAPES = ((0, 0), (0, 3), (3, 0), (0,))
WINDOWS = [*(np.empty(shape) for shape in SHAPES), np.zeros((3, 3)), np.zeros((1, 1)), np.zeros(())]


def cases(name: str) -> Iterator[dict[str, Any]]:
    """What is empty or nothing, for each parameter that can be."""
    known = inspect.signature(getattr(ndimage, name)).parameters
    more = GIVEN.get(name, {})
    if "size" in known:
        sizes = (0, -1) if name.endswith("1d") else SIZES
        yield from ({**more, "size": size} for size in sizes)
    for what in {"footprint", "structure", "weights"} & set(known):
        yield from ({**more, what: window} for window in WINDOWS)
    if {"structure", "size"} <= set(known):
        nothing = np.zeros((3, 3))
        yield from ({"structure": nothing, **other} for other in ({"size": 0}, {"footprint": nothing}))
    if "axes" in known:
        window = {"weights": np.ones(())} if "weights" in known else {"size": 3} if "size" in known else {}
        yield {**more, **window, "axes": ()}
        yield from ({**more, "axes": axes, "size": 0} for axes in ((), (0,)) if "size" in known)
    if "radius" in known:
        yield {**more, "radius": 0}


def answer(function: Any, *args: Any, **options: Any) -> Any:
    try:
        return function(*args, **options)
    except (ValueError, RuntimeError, TypeError, IndexError, ZeroDivisionError):  # a UsageError is a ValueError
        return None


def is_read_beyond(name: str, options: dict[str, Any]) -> bool:
    """Whether scipy reads memory that is not the window's: it ends the process, or answers with garbage."""
    structure, footprint = options.get("structure"), options.get("footprint")
    if structure is None or name.startswith("binary"):
        return False
    return not structure.size or (footprint is not None and not footprint.any())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_both_refuse_or_both_give_the_same_bits(name: str) -> None:
    u = mb.scatter(PICTURE, mb.Grid(PICTURE.shape))
    for options in cases(name):
        theirs = None if is_read_beyond(name, options) else answer(getattr(ndimage, name), PICTURE, **options)
        if theirs is None:
            with pytest.raises(mb.UsageError):
                getattr(filters, name)(u, **options)
        else:
            ours = getattr(filters, name)(u, **options)
            assert ours.dtype == theirs.dtype, options
            np.testing.assert_array_equal(ours.owned, theirs, err_msg=f"{name} {options}")


def test_a_false_structure_with_masks_and_repetitions() -> None:
    grid = mb.Grid(PICTURE.shape)
    u, mask = mb.scatter(PICTURE, grid), mb.scatter(PICTURE > 3, grid)
    names = ("erosion", "dilation", "opening", "closing")
    for name, iterations, border in itertools.product(names, (1, 2, 0), (0, 1)):
        more = {"border_value": border} if name in ("erosion", "dilation") else {}
        options: dict[str, Any] = {"structure": np.zeros((3, 3)), "iterations": iterations, **more}
        ours = getattr(filters, f"binary_{name}")(u, mask=mask, **options)
        theirs = getattr(ndimage, f"binary_{name}")(PICTURE, mask=mask.owned, **options)
        np.testing.assert_array_equal(ours.owned, theirs, err_msg=f"{name} {options}")
