"""Gray and binary morphology of Fields against scipy, on any decomposition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mpibatch as mb
from tests.support.window_cases import MODES, blocks, cells, distributed, same_bits, scipy_says, windows

pytestmark = pytest.mark.mpi
steady = settings(derandomize=True, deadline=None, database=None)
NUMBERS = ["u1", "i2", "u4", "i8", "f4", "f8"]
GRAY = ["grey_erosion", "grey_dilation", "grey_opening", "grey_closing"]
DIFFERENCES = ["morphological_gradient", "white_tophat", "black_tophat"]
BINARY = ["binary_erosion", "binary_dilation", "binary_opening", "binary_closing"]


def apply(name: str, *arguments: Any, **options: Any) -> mb.Field:
    return getattr(mb.filters, name)(*arguments, **options)


@given(
    block=blocks(NUMBERS),
    name=st.sampled_from(GRAY + DIFFERENCES),
    mode=st.sampled_from(MODES),
    data=st.data(),
)
@settings(steady, max_examples=120)
def test_flat_structures_have_scipys_bits(block: tuple, name: str, mode: str, data: st.DataObject) -> None:
    whole, ndim, seed, halo = block
    options = data.draw(windows(ndim)) | {"mode": mode, "cval": 1.0}
    found = apply(name, distributed(whole, ndim, seed, halo), **options)
    same_bits(found, scipy_says(name, whole, ndim, **options))


@given(
    block=blocks(["?", *NUMBERS]),
    name=st.sampled_from(GRAY),
    mode=st.sampled_from(MODES),
    heights=st.sampled_from([0.0, 1.0, 2.5]),
    data=st.data(),
)
@settings(steady, max_examples=120)
def test_heights_are_added_in_scipys_arithmetic(
    block: tuple, name: str, mode: str, heights: float, data: st.DataObject
) -> None:
    whole, ndim, seed, halo = block
    window = data.draw(windows(ndim))
    form = window.pop("footprint", None)
    sizes = window.pop("size", ()) if form is None else form.shape
    rng = np.random.default_rng(seed)
    # scipy leaves numbers other than 0 and 1 in arrays of bool, which then mean what they like.
    structure = np.round((heights if whole.dtype.kind != "b" else 0.0) * rng.random(sizes), 1)
    options = window | {"structure": structure, "footprint": form, "mode": mode, "cval": 1.0}
    found = apply(name, distributed(whole, ndim, seed, halo), **options)
    same_bits(found, scipy_says(name, whole, ndim, **options))


@given(
    block=blocks(["?", "u1", "f4"]),
    name=st.sampled_from(BINARY),
    iterations=st.sampled_from([1, 1, 2, 3, 11, 0, -1]),
    beyond=st.booleans(),
    masked=st.booleans(),
    shape=st.sampled_from(["cross", "box", "any"]),
    data=st.data(),
)
@settings(steady, max_examples=200)
def test_binary_filters_are_scipys(
    block: tuple,
    name: str,
    iterations: int,
    beyond: bool,
    masked: bool,
    shape: str,
    data: st.DataObject,
) -> None:
    whole, ndim, seed, halo = block
    options: dict[str, Any] = {"iterations": iterations, "border_value": int(beyond)}
    if shape != "cross":
        window = data.draw(windows(ndim))
        form = window.pop("footprint", None)
        form = np.ones(window.pop("size")) if form is None else form
        if iterations < 1:
            # Without its center a structure may go on for ever, here as in scipy.
            form[tuple(n // 2 + o for n, o in zip(form.shape, window["origin"], strict=True))] = 1
        options |= window | {"structure": np.ones(form.shape) if shape == "box" else form}
    mask = np.random.default_rng(seed + 1).random(whole.shape) < 0.8 if masked else None
    u = distributed(whole, ndim, seed, halo)
    field = None if mask is None else distributed(mask, ndim, seed)
    if field is not None:
        # The same grid, not just the same shape.
        field = u.like(dtype="?", halo=0)
        field.owned[...] = mask[u.grid.box.slices()] if mask is not None else False
    found = apply(name, u, mask=field, **options)
    # Without brute force scipy 1.17 writes past its arrays where a structure is larger than the array.
    larger = all(n >= 5 for n in whole.shape[:ndim])
    same_bits(found, scipy_says(name, whole, ndim, mask=mask, brute_force=not larger, **options))


def test_a_structure_without_its_center_is_repeated_step_by_step() -> None:
    whole = cells((12, 9), "?", 3)
    structure = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    options: dict[str, Any]
    for iterations in (2, 5, 9):
        options = {"structure": structure, "iterations": iterations}
        for name in BINARY:
            found = apply(name, distributed(whole, 2, 1), **options)
            same_bits(found, scipy_says(name, whole, 2, **options))
    options = {"structure": [[0, 0, 1]], "iterations": 0}
    same_bits(apply("binary_erosion", distributed(whole, 2, 1), **options), np.zeros(whole.shape, bool))


def test_a_winding_front_runs_through_all_ranks() -> None:
    walls = np.ones((21, 21), bool)
    walls[1::4, :-1] = False
    walls[3::4, 1:] = False
    seed = np.zeros(walls.shape, bool)
    seed[0, 0] = True
    u = distributed(seed, 2, 4)
    mask = u.like(dtype="?")
    mask.owned[...] = walls[u.grid.box.slices()]
    found = apply("binary_dilation", u, iterations=0, mask=mask)
    same_bits(found, scipy_says("binary_dilation", seed, 2, iterations=0, mask=walls))
    assert int(mb.count_nonzero(found)) == np.count_nonzero(walls)


def test_axes_of_their_own() -> None:
    whole = cells((7, 8, 9), "u2", 5)
    options: dict[str, Any]
    for options in ({"size": (3, 2), "axes": (0, 2)}, {"size": (3, 2), "axes": (2, 0), "mode": ("wrap", "mirror")}):
        for name in GRAY + DIFFERENCES:
            same_bits(apply(name, distributed(whole, 3, 1), **options), scipy_says(name, whole, 3, **options))
    for name in BINARY:
        for options in ({"axes": (1,)}, {"axes": (0, 2), "structure": np.ones((2, 3)), "origin": (-1, 1)}):
            same_bits(apply(name, distributed(whole > 7, 3, 1), **options), scipy_says(name, whole > 7, 3, **options))


@pytest.mark.parametrize("beyond", [0, 1])
def test_boxes_repeated_beyond_the_walls(beyond: int) -> None:
    whole = cells((9, 14), "?", 6) | (np.arange(14) > 3)
    structure = np.ones((2, 3), bool)
    for iterations in (8, 40, 10**9):
        for name in ("binary_erosion", "binary_dilation"):
            options = {"structure": structure, "border_value": beyond}
            found = apply(name, distributed(whole, 2, 3), iterations=iterations, **options)
            same_bits(found, scipy_says(name, whole, 2, iterations=min(iterations, 100), **options))


def test_tophats_of_bool_are_differences() -> None:
    whole = cells((13, 14), "?", 5)
    for name in ("white_tophat", "black_tophat"):
        same_bits(apply(name, distributed(whole, 2, 1), size=3), scipy_says(name, whole, 2, size=3))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("grey_erosion", {}, "are all missing"),
        ("grey_dilation", {"size": (3, 3, 3)}, "3 values for 2"),
        ("grey_dilation", {"footprint": [1, 1]}, "has 1 axes"),
        ("grey_erosion", {"structure": [1, 2]}, "has 1 axes"),
        ("grey_erosion", {"structure": [["a"]]}, "not numbers"),
        ("grey_erosion", {"structure": [[1, 2]], "footprint": [[1], [1]]}, "give both the same"),
        ("grey_opening", {"size": 3, "origin": 7}, "leaves the window"),
        ("binary_erosion", {"structure": [1, 1, 1]}, "has 1 axes"),
        ("binary_erosion", {"iterations": 1.5}, "not a whole number"),
        ("binary_dilation", {"mask": 3}, "give a Field"),
        ("binary_dilation", {"structure": [[]]}, "is empty"),
        ("binary_dilation", {"structure": [[1, 1], [1]]}, "equal length"),
        ("grey_dilation", {"structure": [[1, 1], [1]]}, "equal length"),
        ("grey_dilation", {"footprint": [["a"]]}, "not numbers"),
        ("binary_opening", {"origin": 2}, "leaves the window"),
    ],
)
def test_what_cannot_be_meant_is_told_on_every_rank(name: str, options: dict, told: str) -> None:
    u = mb.Grid((8, 9)).zeros("f4")
    with pytest.raises(mb.UsageError, match=told):
        apply(name, u, **options)


def test_bool_has_no_gradient() -> None:
    with pytest.raises(mb.UsageError, match="astype"):
        apply("morphological_gradient", mb.Grid((4, 4)).zeros("?"), size=3)
