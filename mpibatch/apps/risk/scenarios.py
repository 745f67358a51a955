"""Scenarios: moves of the market, and what each would make of each position."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.apps.risk.book import Book, Settings
from mpibatch.apps.risk.estimates import Estimate
from mpibatch.apps.risk.positions import Position, read_columns
from mpibatch.mpi import MPI, agreed

__all__ = ["MOVES", "profits", "read_moves", "read_profits"]

MOVES = ("spot", "volatility", "rate")
Moves = npt.NDArray[np.float64]


def read_moves(comm: MPI.Intracomm, path: str, positions: Sequence[Position]) -> Moves:
    """Return moves, a row for each scenario: spot relative, volatility and rate absolute. Collective.

    UsageError, with the scenario's number, for one in which a position cannot be priced.
    """
    columns = read_columns(comm, path)
    with agreed(comm, f"reading {path}"):
        if not columns or not set(columns) <= set(MOVES):
            raise mb.UsageError(f"{path} has columns {list(columns)}; scenarios have some of {list(MOVES)}, no others")
        numbers = {name: _numbers(path, name, column) for name, column in columns.items()}
        count = len(next(iter(numbers.values())))
        if not count:
            raise mb.UsageError(f"{path} has no rows; give a scenario at least")
        moves = np.stack([numbers.get(name, np.zeros(count)) for name in MOVES], axis=1)
        for number, move in enumerate(moves, 1):
            _moved(positions, number, move)
        return moves


def read_profits(comm: MPI.Intracomm, path: str) -> mb.Field:
    """Return given profits and losses, one for each scenario: an array, or a table whose columns are added up.

    Collective.
    """
    if path.partition("::")[0].endswith((".h5", ".hdf5")):
        loaded = mb.load(path)
        if isinstance(loaded, mb.Field):
            if loaded.grid.ndim > 2:
                raise mb.UsageError(f"{path} has {loaded.grid.ndim} axes; give scenarios, or scenarios by positions")
            return loaded if loaded.grid.ndim == 1 else mb.sum(loaded, axis=1)
    columns = read_columns(comm, path)
    with agreed(comm, f"reading {path}"):
        numbers = [_numbers(path, name, column) for name, column in columns.items()]
        if not numbers or not len(numbers[0]):
            raise mb.UsageError(f"{path} has no numbers; give a column at least, with a row for each scenario")
        totals = np.array([math.fsum(row) for row in zip(*numbers, strict=True)])
    field = mb.Grid((totals.size,), comm=comm).zeros("f8")
    field.owned[...] = totals[field.box.slices()]
    return field


def profits(
    comm: MPI.Intracomm, positions: Sequence[Position], now: Sequence[Estimate], settings: Settings, moves: Moves,
    paths: int,
) -> mb.Field:  # fmt: skip
    """Return what the book gains in each scenario, a row, with each position, a column. Collective.

    Every position is priced again, on the paths that it was priced on.
    """
    grid = mb.Grid((len(moves), len(positions)), comm=comm, topology=(comm.size, 1))
    field = grid.zeros("f8")
    for number, move in enumerate(moves):
        book = Book(comm, _moved(positions, number + 1, move), settings)
        book.extend(paths)
        if field.box.start[0] <= number < field.box.stop[0]:
            field.owned[number - field.box.start[0]] = [
                position.quantity * (after.price - before.price)
                for position, before, after in zip(positions, now, book.estimates(), strict=True)
            ]
    return field


def _moved(positions: Sequence[Position], number: int, move: Moves) -> list[Position]:
    """Return the book in a scenario. Local."""
    try:
        return [position.moved(*move.tolist()) for position in positions]
    except mb.UsageError as error:
        raise mb.UsageError(f"scenario {number}: {error}") from None


def _numbers(path: str, name: str, column: Sequence[object]) -> npt.NDArray[np.float64]:
    values = np.empty(len(column))
    for number, value in enumerate(column, 1):
        try:
            values[number - 1] = float(str(value))
        except ValueError:
            values[number - 1] = math.nan
        if not math.isfinite(values[number - 1]):
            raise mb.UsageError(f"{path}, row {number}: {name} = {value!r} is no finite number; correct it")
    return values
