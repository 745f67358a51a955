"""An array where a Field is wanted: one sentence, whatever was called; NumPy's names point to ours."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mpibatch as mb
from mpibatch.simulate import Schedule, cfl_step

if TYPE_CHECKING:
    from pathlib import Path

ARRAY: Any = np.ones((6, 5))
REQUIRED = {"q": 0.5, "sigma": 1, "axis": 0, "size": 3, "weights": [1.0], "rank": 0, "percentile": 50, "amount": 1}
FILTERS = [name for name in mb.filters.__all__ if name[0].islower() and name != "names"]
SENTENCE = r"got ndarray of shape \(6, 5\), not a Field; give a Field \(mpibatch.scatter\(array, grid\) makes one"


@mb.stencil
def double(u):
    return 2 * u[0, 0]


def refuses(call: Any) -> None:
    with pytest.raises(mb.UsageError, match=SENTENCE):
        call()


def required(function: Any) -> dict[str, Any]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    given = {p.name: REQUIRED.get(p.name, 1) for p in named if p.default is p.empty}
    return given | ({"size": 3} if "size" in [p.name for p in named] else {})


def public_calls() -> dict[str, Any]:
    """Every public function of the package whose first parameter is a Field by its annotation."""
    found = {}
    for place in (mb, mb.filters, mb.reduce, mb.measure, mb.segment, mb.halo, mb.io, mb.simulate):
        for name in place.__all__:
            value = getattr(place, name)
            if not inspect.isfunction(value):
                continue
            first = next(iter(inspect.signature(value).parameters.values()), None)
            if first is not None and str(first.annotation).split(" ")[0].removeprefix("'") == "Field":
                found[f"{place.__name__}.{name}"] = value
    return found


def test_every_function_of_a_field() -> None:
    calls = public_calls()
    assert len(calls) > len(FILTERS)
    missing = {f"mpibatch.filters.{name}" for name in FILTERS if name != "ellipsoid_kernel"} - set(calls)
    assert not missing
    for name, function in calls.items():
        given = required(function)
        if name.endswith("redistribute"):
            given["grid"] = mb.Grid(ARRAY.shape)
        refuses(partial(function, ARRAY, **given))


def test_fields_in_other_places(tmp_path: Path) -> None:
    grid = mb.Grid(ARRAY.shape)
    u, path = grid.zeros(), tmp_path / "a.h5"
    refuses(lambda: mb.Exchange(ARRAY))
    refuses(lambda: mb.Exchange([u, ARRAY]))
    refuses(lambda: double(ARRAY))
    refuses(lambda: double(u, out=ARRAY))
    refuses(lambda: mb.iterate(double, ARRAY, steps=1))
    refuses(lambda: mb.iterate(double, u, steps=1, out=ARRAY))
    refuses(lambda: mb.save(path, a=ARRAY))
    refuses(lambda: mb.save(path, a=ARRAY, u=u))
    refuses(lambda: mb.random.Generator(1).normal(ARRAY))
    refuses(lambda: cfl_step([u, ARRAY], 0.5))
    for name in ("binary_erosion", "binary_dilation", "binary_opening", "binary_closing"):
        refuses(partial(getattr(mb.filters, name), u.astype("u1"), mask=ARRAY))
    for name in FILTERS:
        if "output" in inspect.signature(getattr(mb.filters, name)).parameters:
            with pytest.raises(mb.UsageError, match="output is an array"):
                getattr(mb.filters, name)(u, **required(getattr(mb.filters, name)) | {"output": ARRAY})
            with pytest.raises(mb.UsageError, match=r"output is (a Field of shape|frozen)"):
                getattr(mb.filters, name)(u, **required(getattr(mb.filters, name)) | {"output": u.frozen()})


def test_state_of_simulations_and_checkpoints(tmp_path: Path) -> None:
    u = mb.Grid(ARRAY.shape).zeros()
    simulation = mb.Simulation(schedule=Schedule(steps=1))
    refuses(lambda: [None for _ in simulation.steps({"u": u, "v": ARRAY}, dt=1.0)])
    checkpoints = mb.Checkpoints(tmp_path / "points")
    refuses(lambda: checkpoints.save(0, {"v": ARRAY}))
    checkpoints.save(0, {"v": u})
    latest = checkpoints.latest()
    assert latest is not None
    refuses(lambda: latest.restore({"v": ARRAY}))


def test_numpy_s_names_point_to_ours() -> None:
    u: Any = mb.Grid((6, 5)).zeros()
    for call, ours in (
        (lambda: np.sum(u), "sum"),
        (lambda: np.mean(u), "mean"),
        (lambda: np.amax(u), "max"),
        (lambda: np.median(u), "median"),
        (lambda: np.add.reduce(u), "sum"),
        (lambda: np.save("x.npy", u), "save"),
        (lambda: np.count_nonzero(u), "count_nonzero"),
    ):
        with pytest.raises(mb.UsageError, match=rf"use mpibatch\.{ours}\b"):
            call()
    for name in ("sum", "mean", "min", "max", "argmin", "argmax"):
        with pytest.raises(AttributeError, match=rf"has no attribute '{name}'; use mpibatch\.{name}\(u\)"):
            getattr(u, name)()
    with pytest.raises(AttributeError, match=r"work on u\.owned"):
        u.ravel()
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        u.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean 'gaussian_filter'"):
        mb.filters.gaussian  # noqa: B018
