"""Positions: a row of a table each, read and checked."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import mpibatch as mb
from mpibatch.io.read.csv_columns import csv_columns
from mpibatch.mpi import MPI, agreed

__all__ = ["COLUMNS", "TYPES", "Position", "read_columns", "read_positions"]

STYLES = ("european", "asian", "geometric-asian", "american", "up-out", "up-in", "down-out", "down-in")
TYPES = tuple(f"{style} {right}" for style in STYLES for right in ("call", "put"))
REQUIRED = ("type", "S", "K", "T", "r")
MODEL = ("v0", "kappa", "theta", "eta", "rho")
COLUMNS = (*REQUIRED, "q", "sigma", *MODEL, "barrier", "fixings", "quantity")
MOST_DATES = 1 << 20


@dataclass(frozen=True)
class Position:
    """One position, checked; prices in units of money, times in years, rates and variances per year.

    Attributes
    ----------
    where : the file and row it stands in, for errors.
    style, right : what it is.
    spot, strike, expiry, rate, dividend, quantity : as the columns S, K, T, r, q, quantity.
    sigma : volatility; NaN with Heston's model.
    heston : v0, kappa, theta, eta, rho; empty without.
    barrier : the level; NaN where there is none.
    fixings : how many dates, evenly spaced up to expiry; 0 for none (a barrier is then watched all the time).
    """

    where: str
    style: str
    right: str
    spot: float
    strike: float
    expiry: float
    rate: float
    dividend: float
    quantity: float
    sigma: float
    heston: tuple[float, ...]
    barrier: float
    fixings: int

    @property
    def sign(self) -> float:
        """1 for a call, -1 for a put. Local."""
        return 1.0 if self.right == "call" else -1.0

    @property
    def payoff(self) -> float:
        """What is paid for its exercise at once. Local."""
        return max(self.sign * (self.spot - self.strike), 0.0)

    def numbers(self) -> npt.NDArray[np.float64]:
        """Return what compiled loops want to know, in their order. Local."""
        sigma = 1.0 if self.heston else self.sigma  # of Heston's model nothing reads it
        model = self.heston or (0.0,) * len(MODEL)
        barrier = 1.0 if math.isnan(self.barrier) else self.barrier
        money = (self.spot, self.strike, self.expiry, self.rate, self.dividend, sigma)
        return np.array([*money, *model, barrier])

    def moved(self, spot: float, volatility: float, rate: float) -> Position:
        """Return it after a relative move of the spot price, and absolute ones of volatility and rate. Local.

        UsageError if no such position can be.
        """
        heston = self.heston
        if heston:
            root = max(math.sqrt(heston[0]) + volatility, 0.0)
            heston = (root * root, *heston[1:])
        moved = replace(
            self,
            spot=self.spot * (1.0 + spot),
            sigma=self.sigma + volatility,
            rate=self.rate + rate,
            heston=heston,
        )
        moved.check(is_moved=True)
        return moved

    def check(self, *, is_moved: bool = False) -> None:
        """Raise UsageError for what cannot be priced. Local."""
        for name, value in (("S", self.spot), ("K", self.strike), ("T", self.expiry)):
            self._check_positive(name, value)
        for name, value in (("r", self.rate), ("q", self.dividend), ("quantity", self.quantity)):
            if not math.isfinite(value):
                raise self.error(f"{name} = {value:g} is no finite number")
        if self.heston:
            self._check_heston()
        else:
            self._check_positive("sigma", self.sigma)
        if self.style in ("asian", "geometric-asian", "american") and not self.fixings:
            raise self.error(f"fixings is empty or 0, and an {self.style} option needs its dates; give 1 or more")
        if not is_moved:
            self._check_barrier()

    def _check_positive(self, name: str, value: float) -> None:
        if not 0.0 < value < math.inf:
            raise self.error(f"{name} = {value:g} is no finite number above 0")

    def _check_heston(self) -> None:
        v0, kappa, theta, eta, rho = self.heston
        for name, value in (("v0", v0), ("kappa", kappa), ("theta", theta), ("eta", eta)):
            self._check_positive(name, value)
        if not -1.0 < rho < 1.0:
            raise self.error(f"rho = {rho:g} is not between -1 and 1")
        if self.style == "american":
            raise self.error("american options are priced with a volatility, not with Heston's model; give sigma")
        if self.style.startswith(("up", "down")) and not self.fixings:
            raise self.error("with Heston's model a barrier is watched at dates; give fixings")

    def _check_barrier(self) -> None:
        if not self.style.startswith(("up", "down")):
            return
        self._check_positive("barrier", self.barrier)
        side = self.style.partition("-")[0]
        if (self.barrier <= self.spot) if side == "up" else (self.barrier >= self.spot):
            above = "above" if side == "up" else "below"
            raise self.error(
                f"barrier = {self.barrier:g} is on the wrong side of S = {self.spot:g}: an {side} barrier "
                f"lies {above} it"
            )

    def is_beyond(self) -> bool:
        """Whether the spot price is at its barrier, or beyond. Local."""
        if not self.style.startswith(("up", "down")):
            return False
        return self.spot >= self.barrier if self.style.startswith("up") else self.spot <= self.barrier

    def error(self, words: str) -> mb.UsageError:
        """Return an error that says where it is. Local."""
        return mb.UsageError(f"{self.where}: {words}; correct or leave out this position")


def read_positions(comm: MPI.Intracomm, path: str) -> list[Position]:
    """Return the positions in a file, on every rank. Collective. UsageError for what is wrong in it, with its row."""
    columns = read_columns(comm, path)
    with agreed(comm, f"reading {path}"):
        if missing := [name for name in REQUIRED if name not in columns]:
            raise mb.UsageError(
                f"{path} has no column {', '.join(missing)}; a table of positions has {', '.join(REQUIRED)}, and "
                f"may have {', '.join(COLUMNS[len(REQUIRED) :])}"
            )
        if unknown := [name for name in columns if name not in COLUMNS]:
            raise mb.UsageError(f"{path} has a column {unknown[0]!r}, which means nothing; known are {list(COLUMNS)}")
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if not rows:
            raise mb.UsageError(f"{path} has no rows; give a position at least")
        return [_position(f"{path}, row {number}", row) for number, row in enumerate(rows, 1)]


def read_columns(comm: MPI.Intracomm, path: str) -> dict[str, Sequence[Any]]:
    """Return the columns of CSV, Parquet or a table in HDF5 (FILE.h5::TABLE), on every rank. Collective."""
    file = path.partition("::")[0]
    if file.endswith((".h5", ".hdf5")):
        table: Any = mb.load(path)
        if isinstance(table, mb.Field):
            raise mb.UsageError(f"{path} is an array, and a table is wanted: a group whose datasets are columns")
        return {name: column.tolist() for name, column in table.gather().items()}
    columns: dict[str, Sequence[Any]] = {}
    with agreed(comm, f"reading {path}"):
        if comm.rank == 0:
            columns = {**(_parquet(path) if file.endswith(".parquet") else csv_columns(path, "{path}, row {row}"))}
    whole: dict[str, Sequence[Any]] = comm.bcast(columns, root=0)
    return whole


def _parquet(path: str) -> dict[str, Sequence[Any]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise mb.UsageError(
            "cannot read Parquet: pyarrow is not installed; type: pip install 'mpibatch[parquet]', or give CSV"
        ) from None
    with Path(path).open("rb"):
        pass  # a file that is missing is told as for CSV
    try:
        return dict(parquet.read_table(path).to_pydict())
    except Exception as error:
        raise mb.UsageError(f"{path} is no readable Parquet ({error}); write it again, or give CSV") from None


def _position(where: str, row: Mapping[str, Any]) -> Position:
    def number(name: str, default: float = math.nan) -> float:
        value = row.get(name)
        if value is None or value == "":
            return default
        try:
            return default if math.isnan(float(value)) else float(value)
        except (TypeError, ValueError):
            raise mb.UsageError(f"{where}: {name} = {value!r} is no number; correct it") from None

    style, right = _type(where, row["type"])
    model = tuple(number(name) for name in MODEL)
    given = [not math.isnan(value) for value in model]
    sigma = number("sigma")
    if any(given) and (not all(given) or not math.isnan(sigma)):
        raise mb.UsageError(f"{where}: give either sigma, or all of {', '.join(MODEL)} for Heston's model")
    fixings = number("fixings", -1.0)  # where there is none
    if fixings == 0:
        raise mb.UsageError(f"{where}: fixings = 0 leaves no date to look at the price; give 1 or more, or nothing")
    if fixings != -1 and not (0 < fixings <= MOST_DATES and fixings == int(fixings)):
        raise mb.UsageError(f"{where}: fixings = {fixings:g} is no whole number from 1 to {MOST_DATES}; correct it")
    position = Position(
        where=where, style=style, right=right, spot=number("S"), strike=number("K"), expiry=number("T"),
        rate=number("r"), dividend=number("q", 0.0), quantity=number("quantity", 1.0), sigma=sigma,
        heston=model if any(given) else (), barrier=number("barrier"), fixings=max(int(fixings), 0),
    )  # fmt: skip
    position.check()
    return position


def _type(where: str, given: Any) -> tuple[str, str]:
    if isinstance(given, int | float) and given in range(len(TYPES)):
        name = TYPES[int(given)]  # tables in HDF5 have numbers only
    else:
        name = " ".join(str(given).lower().split())
    if name not in TYPES:
        raise mb.UsageError(f"{where}: the type {given!r} is unknown; known are {', '.join(TYPES)}")
    style, right = name.split()
    return style, right
