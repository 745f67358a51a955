"""Velocities at the beginning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.dns.flows import Flow, State
from mpibatch.apps.dns.parameters import Parameters
from mpibatch.apps.dns.waves import tollmien_schlichting
from mpibatch.simulate.checks import INITIAL, check_state

__all__ = ["beginning", "poiseuille", "vortices"]

SMOOTH = 2.0  # cells over which a channel's noise is smoothed


def beginning(p: Parameters, flow: Flow) -> State:
    """Return the velocities, solenoidal. Collective."""
    if p.start is not None:
        state = {name: mb.load(f"{p.start}::{name}", grid=flow.grid).astype("f8") for name in flow.names}
        # Before it is made solenoidal, which would spread what is broken.
        check_state(state, "in the initial data", INITIAL)
    elif p.problem == "taylor-green":
        state = vortices(p, flow, 0.0)
    elif p.problem == "turbulence":
        state = eddies(p, flow)
    else:
        state = disturbed(p, flow)
    wide = {name: field.like(halo=1) for name, field in state.items()}
    for name, field in state.items():
        wide[name].owned[...] = field.owned
    if p.is_walled:
        wall = flow.grid.ndim - 2
        if not flow.grid.box.start[wall]:
            wide["velocity_y"].owned[(slice(None),) * wall + (slice(0, 1),)] = 0.0
    flow.make_solenoidal(tuple(wide.values()))
    return wide


def vortices(p: Parameters, flow: Flow, time: float) -> State:
    """Return Taylor's and Green's vortices; at later times than 0 the exact ones, of two axes. Local."""
    k = [2 * math.pi / length for length in p.lengths]
    decay = math.exp(-p.viscosity * math.fsum(x * x for x in k[-2:]) * time)

    def component(axis: int) -> Callable[..., Any]:
        def values(*places: Any) -> Any:
            at = [
                number * (x - (h / 2 if a == axis else 0.0))
                for a, (number, x, h) in enumerate(zip(k, places, flow.grid.spacing, strict=True))
            ]
            y, x = at[-2:]
            depth = np.cos(at[0]) if len(at) == 3 else 1.0
            size = {len(at) - 1: np.sin(x) * np.cos(y), len(at) - 2: -k[-1] / k[-2] * np.cos(x) * np.sin(y)}
            return decay * depth * size.get(axis, 0.0 * x * y)

        return values

    return {name: flow.grid.from_function(component(axis)) for axis, name in enumerate(flow.names)}


def eddies(p: Parameters, flow: Flow) -> State:
    """Return random eddies, of rms velocity 1 in each component. Collective."""
    rng = mb.random.Generator(p.random)
    sigma = [1 / (p.peak * h) for h in flow.grid.spacing]
    state = {name: mb.filters.gaussian_filter(rng.normal(flow.grid), sigma, mode="grid-wrap") for name in flow.names}
    wide = tuple(field.like(halo=1) for field in state.values())
    for field, part in zip(wide, state.values(), strict=True):
        field.owned[...] = part.owned
        field.owned[...] -= mb.mean(part)
    flow.make_solenoidal(wide)
    square = math.fsum(float(mb.dot(field, field)) for field in wide) / math.prod(p.shape) / len(wide)
    return {name: field / math.sqrt(square) for name, field in zip(flow.names, wide, strict=True)}


def poiseuille(p: Parameters) -> npt.NDArray[np.float64]:
    """Return the steady flow of these cells, 1 − y² but for their error. Local."""
    faces = p.faces
    middles = (faces[1:] + faces[:-1]) / 2
    # The stress in a face is -2 y; its velocity at the wall is 0.
    differences = np.concatenate([[2 * (middles[0] + 1)], -2 * faces[1:-1] * np.diff(middles)])
    profile: npt.NDArray[np.float64] = np.array([math.fsum(differences[: j + 1]) for j in range(len(middles))])
    return profile


def disturbed(p: Parameters, flow: Flow) -> State:
    """Return Poiseuille's flow and a disturbance. Collective."""
    grid, wall = flow.grid, flow.grid.ndim - 2
    across = [-1 if axis == wall else 1 for axis in range(grid.ndim)]
    cut = slice(grid.box.start[wall], grid.box.stop[wall])
    state = {name: grid.zeros() for name in flow.names}
    if p.disturbance == "noise":
        rng, middles = mb.random.Generator(p.random), (p.faces[1:] + p.faces[:-1]) / 2
        fade = (1 - middles[cut] ** 2).reshape(across)
        for name in flow.names:
            noise = mb.filters.gaussian_filter(rng.normal(grid), SMOOTH, mode="wrap")
            square = float(mb.dot(noise, noise)) / math.prod(p.shape)
            state[name].owned[...] = p.amplitude / math.sqrt(square) * fade * noise.owned
    elif p.amplitude:
        k, h = 2 * math.pi / p.lengths[-1], grid.spacing[-1]
        _, wave = tollmien_schlichting(p.faces, k, p.viscosity)
        first, last = grid.box.start[-1], grid.box.stop[-1]
        # Differences of a stream function in the corners: it begins solenoidal, to rounding.
        turns = np.array([complex(math.cos(k * h * i), math.sin(k * h * i)) for i in range(first, last + 1)])
        stream = (wave[cut.start : cut.stop + 1, None] * turns).real
        along = np.diff(stream, axis=0)[:, :-1] / np.diff(p.faces)[cut, None]
        state["velocity_x"].owned[...] = p.amplitude * along
        state["velocity_y"].owned[...] = p.amplitude * -np.diff(stream, axis=1)[:-1] / h
    state["velocity_x"].owned[...] += poiseuille(p)[cut].reshape(across)
    return state
