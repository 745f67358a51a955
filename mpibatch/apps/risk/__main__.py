"""``python -m mpibatch.apps.risk``: a book's prices and Greeks, and what it may lose."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mpibatch as mb
from mpibatch.apps.risk.book import Book, Settings
from mpibatch.apps.risk.estimates import FIGURES, Estimate
from mpibatch.apps.risk.positions import TYPES, Position, read_positions
from mpibatch.apps.risk.scenarios import MOVES, profits, read_moves, read_profits
from mpibatch.apps.risk.tails import check_confidences, tail
from mpibatch.cli import Parser, command_line
from mpibatch.cli._settings import add_settings, settings_of
from mpibatch.io.write.saver import save_table
from mpibatch.io.write.tables.parquet import load_arrow
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.mpi import MPI, agreed, private

__all__ = ["main"]

SHOWN = 20  # positions on the terminal
TABLES = (".csv", ".h5", ".hdf5", ".parquet")
EXAMPLES = f"""\
positions: CSV, Parquet, or a table in HDF5 (FILE.h5::TABLE, type as a number from 0 on), with the columns
  type S K T r               and if need be   q sigma v0 kappa theta eta rho barrier fixings quantity
types: {", ".join(TYPES[::2])}, and puts
scenarios: a table with some of the columns {", ".join(MOVES)}: relative, absolute and absolute moves

examples:
  mpiexec -n 4 python -m mpibatch.apps.risk price book.csv prices.csv --paths 100000 --state book.json
  mpiexec -n 4 python -m mpibatch.apps.risk price book.csv prices.csv --paths 400000 --state book.json   (goes on)
  mpiexec -n 4 python -m mpibatch.apps.risk price book.csv prices.h5 --scenarios moves.csv --profits profits.h5
  python -m mpibatch.apps.risk losses profits.h5::profits --confidence 0.99
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of both commands. Local."""
    top = Parser(
        prog="python -m mpibatch.apps.risk",
        description="Price a book of options by Monte Carlo, with the same bits on any number of ranks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = Parser(add_help=False)
    group = shared.add_argument_group("losses")
    group.add_argument("--confidence", type=float, default=0.99, help="of the value at risk (default: %(default)s)")
    group.add_argument(
        "--shortfall-confidence", type=float, default=0.975, help="of the expected shortfall (default: %(default)s)"
    )
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = top.add_subparsers(metavar="COMMAND", dest="command", required=True, parser_class=Parser)
    price = commands.add_parser("price", parents=[shared], help="prices, errors and Greeks of positions")
    price.add_argument("book", help="table of positions")
    price.add_argument("output", help=f"table to write, by its ending: {', '.join(TABLES)}")
    price.add_argument("--paths", type=int, default=100_000, help="of each position (default: %(default)s)")
    price.add_argument("--settings", metavar="FILE.toml", help="what the settings are if they are not given")
    words = {
        "seed": "of the random numbers",
        "steps": "per year in Heston's model",
        "regression-paths": "for the rule of American exercise",
    }
    add_settings(price, Settings(), words)
    price.add_argument("--state", metavar="FILE.json", help="file to go on from, and to keep")
    price.add_argument("--every", type=int, default=1_000_000, help="paths from state to state (default: %(default)s)")
    price.add_argument("--scenarios", metavar="FILE", help="table of moves, in each of which the book is priced again")
    price.add_argument("--profits", metavar="FILE.h5", help="where to write the profits: scenarios by positions")
    losses = commands.add_parser("losses", parents=[shared], help="value at risk and shortfall of given profits")
    losses.add_argument("profits", help="CSV, Parquet or FILE.h5::NAME: one for each scenario, or with columns to add")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code. Collective."""
    commands = {"price": _price, "losses": _losses}
    return command_line(parser(), lambda args: commands[args.command](args), argv)


def _price(args: argparse.Namespace) -> int:
    comm = private()
    with agreed(comm, "reading the command line"):
        _check(args)
        if comm.rank == 0 and args.output.endswith(".parquet"):
            load_arrow()  # which is not to fail after hours
        settings = settings_of(Settings, args)
    positions = read_positions(comm, args.book)
    moves = read_moves(comm, args.scenarios, positions) if args.scenarios else None
    book = Book(comm, positions, settings)
    if args.state:
        book.restore(args.state)
    if book.paths > args.paths:
        raise mb.UsageError(f"{args.state} has {book.paths} paths already; give --paths {book.paths} or more")
    while book.paths < args.paths:
        book.extend(min(book.paths + args.every, args.paths))
        if args.state:
            book.save(args.state)
    estimates = book.estimates()
    write(comm, args.output, positions, estimates, book.paths)
    if comm.rank == 0:
        show(positions, estimates, book.paths)
    if moves is not None:
        gained = profits(comm, positions, estimates, settings, moves, book.paths)
        total = mb.sum(gained, axis=1)
        if args.profits:
            columns = dict(zip(MOVES, moves[total.box.slices()].T, strict=True)) | {"profit": total.owned}
            mb.save(args.profits, profits=gained, total=total, scenarios=RegionTable(comm, columns))
        _show_tail(comm, total, args)
    return 0


def _check(args: argparse.Namespace) -> None:
    if not args.output.endswith(TABLES):
        raise mb.UsageError(f"the table {args.output} has none of the endings {', '.join(TABLES)}; give it one of them")
    for name in ("paths", "every"):
        if getattr(args, name) < 1:
            raise mb.UsageError(f"--{name} {getattr(args, name)} is not valid; give a whole number, 1 or more")
    if args.paths == 1:
        raise mb.UsageError("one path tells nothing of the error; give --paths 2 or more")
    if args.profits and not args.scenarios:
        raise mb.UsageError("--profits names a file for what scenarios make of the book; give --scenarios, too")
    if args.profits and not args.profits.endswith((".h5", ".hdf5")):
        raise mb.UsageError(f"profits are written as HDF5, not as {args.profits}; name a file that ends in .h5")
    check_confidences(args.confidence, args.shortfall_confidence)
    for name in ("output", "state", "profits"):
        path = getattr(args, name)
        if path and not Path(path).absolute().parent.is_dir():
            raise mb.RunError(f"cannot write {path}: there is no such folder; make it first")


def _losses(args: argparse.Namespace) -> int:
    comm = private()
    _show_tail(comm, read_profits(comm, args.profits), args)
    return 0


def _show_tail(comm: MPI.Intracomm, gained: mb.Field, args: argparse.Namespace) -> None:
    measured = tail(gained, args.confidence, args.shortfall_confidence)
    if comm.rank == 0:
        print(f"scenarios                        {gained.shape[0]}")
        print(f"value at risk, {args.confidence:<7.2%}           {measured.value_at_risk!r}")
        print(f"expected shortfall, {args.shortfall_confidence:<7.2%}      {measured.shortfall!r}", flush=True)


def write(
    comm: MPI.Intracomm, path: str, positions: Sequence[Position], estimates: Sequence[Estimate], paths: int
) -> None:
    """Write a row for each position, by the ending of the file's name. Collective."""
    low, high = (len(positions) * rank // comm.size for rank in (comm.rank, comm.rank + 1))
    mine = estimates[low:high]
    quantity = np.array([position.quantity for position in positions[low:high]], np.float64)
    columns: dict[str, Any] = {"row": np.arange(low + 1, high + 1, dtype=np.int64), "quantity": quantity}
    columns |= {name: np.array([getattr(each, name) for each in mine], np.float64) for name in FIGURES}
    columns["value"] = quantity * columns["price"]
    save_table(RegionTable(comm, columns, {"paths": paths}), path, "prices")


def show(positions: Sequence[Position], estimates: Sequence[Estimate], paths: int) -> None:
    """Print the first positions. Local."""
    print(f"{'row':>5}  {'type':<20} {'price':>12} {'error':>10} {'delta':>9} {'gamma':>10} {'vega':>10}")
    for number, (position, e) in enumerate(zip(positions[:SHOWN], estimates, strict=False), 1):
        name = f"{position.style} {position.right}"
        print(f"{number:>5}  {name:<20} {e.price:12.6f} {e.error:10.2g} {e.delta:9.5f} {e.gamma:10.6f} {e.vega:10.4f}")
    if len(positions) > SHOWN:
        print(f"       and {len(positions) - SHOWN} more")
    print(f"{len(positions)} positions, {paths} paths each", flush=True)


if __name__ == "__main__":
    sys.exit(main())
