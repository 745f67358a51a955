"""Many items over many ranks, each whole on one of them, or on a team of them."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import RunError, Stopped, UsageError
from mpibatch.base.units import plural, some
from mpibatch.batch import fusion
from mpibatch.batch.items import identity_of, name_of, text_of
from mpibatch.batch.journal import Journal, NoJournal
from mpibatch.batch.log import Failure
from mpibatch.batch.results import Batch
from mpibatch.batch.rows import ResultRows, rows_of, survey
from mpibatch.batch.schedule import costs_of, phases, shares, sizes_of
from mpibatch.batch.work import BatchWork, Call
from mpibatch.checkpoint.identity import fingerprint
from mpibatch.checkpoint.signals import Caught
from mpibatch.mpi import MPI, agreed, private, same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mpibatch.batch.history import History
    from mpibatch.batch.schedule import Floats, Ints, TeamPhase
    from mpibatch.io.base.names import PathLike

__all__ = ["map_items", "state_of"]

FAILED = "failed"  # as `only`: the items that have failed so far
KILLED = "the run ended while it was worked on, {times} times; it may end its rank, and is left out"

_log = logging.getLogger(__name__)


def map_items(
    function: Callable[..., Any],
    items: Sequence[Any],
    *,
    comm: MPI.Intracomm | None = None,
    ranks_per_item: int | Sequence[int] | Callable[[Any], int] = 1,
    costs: Sequence[float] | Callable[[Any], float] | None = None,
    journal: PathLike | None = None,
    output: PathLike | Sequence[PathLike] = (),
    max_failures: int | None = None,
    retries: int = 0,
    seed: int = 0,
    only: Sequence[int] | str | None = None,
    part: tuple[int, int] = (0, 1),
    names: Sequence[str] | None = None,
    progress: Callable[..., None] | None = None,
    encrypt: PathLike | None = None,
) -> Batch:
    """Call a function with each of many items, every rank taking the next when it is done with one.

    There is no master: ranks take numbers from a counter in shared memory. The results, and files of them, have the
    same bytes on any ranks, in whatever order items were done, and after any number of runs that were killed.

    Parameters
    ----------
    function : callable
        Takes an item, and returns None, a number, an array, or a dict of these by name. If it has a parameter `comm`,
        it gets the communicator of the ranks that work on the item; if `rng`, a `numpy.random.Generator` whose numbers
        depend on `seed` and the item alone.
    items : sequence
        The same on all ranks: texts, numbers, tuples, dicts, arrays, or any object.
    comm : mpi4py.MPI.Intracomm, optional
        The ranks; default: all.
    ranks_per_item : int, sequence of int or callable, default 1
        How many ranks work on an item together, or how many for each item, or a function of an item. What their first
        rank returns is the result. The largest teams come first.
    costs : sequence of float or callable, optional
        How long each item may take, in any unit: the longest are handed out first.
    journal : str or path-like, optional
        A folder in which ranks note what is done. If it is there, only what is left is done: on any number of ranks. An
        item that was under way in two runs that ended early is left out as failed. A function whose text has changed
        needs a new one.
    output : str, path-like or sequence of these, default ()
        Files for the results, written once no item is left: ``.h5`` for all, ``.csv`` for a table of the numbers.
    max_failures : int, optional
        End the run when more items than these have failed. Default: never.
    retries : int, default 0
        How often an item that failed is tried again, with the same random numbers.
    seed : int, default 0
        Of the items' random numbers, 0 to 2^64 - 1.
    only : sequence of int or "failed", optional
        The numbers of the items to run, or those that have failed so far. Others are left as they are.
    part : (int, int), default (0, 1)
        Run part k of n of the items, (k, n) with k from 0, while other jobs run the other parts with the same journal.
        The last to end writes the output.
    names : sequence of str, optional
        What items are called in messages and tables. Default: texts and numbers by themselves.
    progress : callable, optional
        Called on rank 0 when it takes an item: with how many were handed out, of how many, and the item's name; if it
        has a parameter `share`, also with the share of the run that should be over by then, by `costs` or by items.
    encrypt : str or path-like, optional
        A file with recipients, as in `save`, who alone can read `output` (``.h5``) and, in the journal, results and why
        items failed. Going on with a journal needs one of their keys. What `function` writes is its own affair.

    Returns
    -------
    Batch
        What was done, what failed, and a table of the results.

    Raises
    ------
    UsageError
        The same on every rank: arguments that are not valid, items that differ between ranks, a journal of another
        batch.
    RunError
        The same on every rank: more than `max_failures`, a journal or an output that cannot be written, or that
        another run is using.
    Stopped
        On all ranks, if SIGUSR1 or SIGTERM came and there is a journal: after the items that were under way.

    Notes
    -----
    Collective. An exception that an item raises is noted with its traceback, and the rest goes on. Of results, numbers
    become columns of a table named ``items``, of the type that NumPy promotes them to, and NaN where an item has none:
    whole numbers are then f8, which holds those below 2^53. Arrays
    become a dataset with the items along its first axis, if all have the same shape, else a group with a dataset for
    each item. Items that failed have no row; the names of the others are in ``item``. A result may have
    2 GiB.

    Handing out costs microseconds: guided self-scheduling, doi:10.1109/TC.1987.5009495. Random numbers are NumPy's
    Philox, doi:10.1145/2063384.2063405, with the key (seed, number of the item).

    Examples
    --------
    >>> import mpibatch as mb
    >>> def roots(x, rng):
    ...     return {"root": x**0.5, "noise": rng.normal(size=3)}
    >>> batch = mb.map_items(roots, [1.0, 4.0, 9.0], output="roots.h5")
    >>> batch.table.gather()["root"].tolist()
    [1.0, 2.0, 3.0]
    >>> for info in mb.io.describe("roots.h5"):
    ...     print(info.name, info.shape)
    item (3,)
    items/item (3,)
    items/root (3,)
    noise (3, 3)
    """
    comm = private(comm)
    readers = None if encrypt is None else os.fspath(encrypt)
    given = {
        "ranks_per_item": ranks_per_item, "costs": costs, "output": output, "only": only, "names": names,
        "encrypt": readers,
    }  # fmt: skip
    with agreed(comm, "checking a batch"):
        order = _Order.of(items, comm.size, part, **given)
        for key, value, least in (("retries", retries, 0), ("max_failures", max_failures or 0, 0), ("seed", seed, 0)):
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value < 1 << 64:
                raise UsageError(f"{key} = {value!r} is not valid; give a whole number, {least} or more")
        identity = identity_of(function, items, seed, encrypts=encrypt is not None)
    place = None if journal is None else os.fspath(journal)
    how = text_of((order.sizes, order.costs, order.outputs, place, max_failures, retries, readers))
    words = "ranks_per_item, costs, output, journal, max_failures, retries, encrypt"
    same(comm, f"{plural(len(items), 'item')} ({fingerprint(identity)[:12]}, part {part}, only {only}; {words}: {how})")
    source: Journal | NoJournal
    if place is None:
        source = NoJournal(comm, identity, len(items))
    else:
        kept = getattr(function, "journal_notes", None)  # of a job's items, for later runs
        source = Journal(comm, place, identity, len(items), None if part == (0, 1) else part, kept, readers)
    with source, nullcontext() if journal is None else Caught() as caught:
        is_stopping = functools.partial(_has_come, caught)
        began = time.perf_counter()
        history = source.read()
        todo, suspects = order.left(history)
        count, work = len(todo) + len(suspects), None
        if count:
            plan = phases(todo, suspects, order.sizes, order.costs)
            work = BatchWork(
                comm=comm,
                call=Call.of(function, seed),
                items=items,
                names=order.name,
                log=source.begin(is_stopping),
                retries=retries,
                max_failures=max_failures,
                is_stopping=is_stopping,
                report=_report(progress if comm.rank == 0 else None, count, plan, order.name, comm.size),
            )
            for phase in plan:
                work.run(phase)
            with agreed(comm, "keeping the journal of a batch"):
                work.log.close()
            history = source.read()
        _check_end(comm, work, history, order, journal)
        batch = _finished(comm, source, history, order, part)
        if work is not None:
            batch.note_work(count, time.perf_counter() - began, work.busy)
        return batch


def state_of(
    function: Callable[..., Any], items: Sequence[Any], journal: PathLike, *, comm: MPI.Intracomm, seed: int = 0,
    encrypt: PathLike | None = None,
) -> list[str]:  # fmt: skip
    """Return for each item "done", "failed" or "left", as its journal has it now. Collective. No lock is taken."""
    identity = identity_of(function, items, seed, encrypts=encrypt is not None)
    source = Journal(comm, os.fspath(journal), identity, len(items), encrypt=encrypt)
    history = source.read()
    words = np.where(history.done, "done", np.where(history.left, "left", "failed"))
    return [str(word) for word in words]


def _has_come(caught: Caught | None) -> bool:
    """Whether a signal has asked the run to stop."""
    return caught is not None and bool(caught.number)


@dataclass(frozen=True)
class _Order:
    """What is known of the items before any of them is run."""

    items: Sequence[Any]
    names: Sequence[str] | None
    sizes: Ints
    costs: Floats | None
    outputs: tuple[fusion.FusedFile, ...]
    only: Ints | str | None
    part: tuple[int, int]

    @classmethod
    def of(cls, items: Sequence[Any], ranks: int, part: tuple[int, int], **given: Any) -> _Order:
        """Check what was given. Local. UsageError."""
        if not hasattr(items, "__len__") or not hasattr(items, "__getitem__") or isinstance(items, str | bytes | dict):
            raise UsageError(f"items are {type(items).__name__}; give a list, or another sequence with a length")
        number, count = part
        if not 0 <= number < count:
            raise UsageError(f"part = {part!r} is not valid; give (k, n) with k from 0 to n - 1")
        outputs = given["output"]
        if isinstance(outputs, str | os.PathLike):
            outputs = (outputs,)
        names = given["names"]
        if names is not None and len(names) != len(items):
            raise UsageError(f"{len(names)} names were given for {len(items)} items; give one for each")
        return cls(
            items=items,
            names=names,
            sizes=sizes_of(given["ranks_per_item"], items, ranks),
            costs=costs_of(given["costs"], items),
            outputs=tuple(fusion.check_output(os.fspath(path), given["encrypt"]) for path in outputs),
            only=_numbers(given["only"], len(items)),
            part=part,
        )

    def name(self, number: int) -> str:
        """Return what an item is called. Local."""
        return name_of(number, self.items[number] if self.names is None else self.names[number])

    def left(self, history: History) -> tuple[Ints, Ints]:
        """Return the items to run, and apart from them those that may end their rank. Local."""
        chosen = history.left
        if isinstance(self.only, str):
            chosen = ~history.done & ~chosen
        elif self.only is not None:
            chosen = np.zeros(len(self.items), bool)
            chosen[self.only] = True
            chosen &= ~history.done
        every = np.arange(len(self.items)) if self.costs is None else np.argsort(-self.costs, kind="stable")
        mine = np.zeros(len(self.items), bool)
        mine[every[self.part[0] :: self.part[1]]] = True
        numbers = np.flatnonzero(chosen & mine)
        is_suspect = history.unended[numbers] > 0
        return numbers[~is_suspect], numbers[is_suspect]

    def failures(self, history: History) -> tuple[Failure, ...]:
        """Return all that failed, and those that are left out, in their order. Local."""
        failed = {item: failure for item, failure in history.failures.items() if not history.done[item]}
        for item in np.flatnonzero(history.killers).tolist():
            words = KILLED.format(times=int(history.unended[item]))
            failed.setdefault(item, Failure(item, self.name(item), words, "", int(history.unended[item])))
        return tuple(failed[item] for item in sorted(failed))


def _numbers(only: Any, total: int) -> Ints | str | None:
    if only is None or (isinstance(only, str) and only == FAILED):
        return only
    numbers = np.asarray(only if not isinstance(only, str) else [only])
    if numbers.size and numbers.dtype.kind not in "iu":
        raise UsageError(f"only = {only!r} is not valid; give the numbers of items, or {FAILED!r}")
    if numbers.size and (numbers.min() < 0 or numbers.max() >= total):
        raise UsageError(f"only = {only!r} names an item that there is not; items have numbers from 0 to {total - 1}")
    return np.asarray(numbers, np.int64)


def _report(
    progress: Callable[..., None] | None, total: int, plan: Sequence[TeamPhase], name: Callable[[int], str], ranks: int
) -> Callable[[int], None]:
    """What tells of items that rank 0 takes: the numbers are those of all ranks, as they were handed out."""
    if progress is None:
        return lambda number: None
    order = np.concatenate([phase.items for phase in plan])
    if not _takes_share(progress):
        return lambda number: progress(number, total, name(int(order[number])))
    over = shares(plan, ranks)
    return lambda number: progress(number, total, name(int(order[number])), share=float(over[number]))


def _takes_share(function: Callable[..., None]) -> bool:
    try:
        return "share" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some built-in functions nothing is known
        return False


def _check_end(
    comm: MPI.Intracomm, work: BatchWork | None, history: History, order: _Order, journal: PathLike | None
) -> None:
    """Raise what ends a run before its time. Collective."""
    if work is None or not work.stopped:
        return
    left = int(np.count_nonzero(history.left))
    if work.max_failures is not None and work.failures > work.max_failures:
        failed = [f"{f.item} ({f.name}): {f.error}" for f in order.failures(history)]
        kept = f"; what is done is kept in {os.fspath(journal)}" if journal is not None else ""
        raise RunError(
            f"{plural(work.failures, 'item')} failed, and max_failures is {work.max_failures}; {left} are left{kept}; "
            f"mend what is wrong, or allow more: {some(failed, 3)}"
        )
    if not left:
        return  # the signal came with the last item
    if comm.rank == 0:
        _log.warning("stopped by a signal: %s left; the same command goes on", plural(left, "item"))
    raise Stopped


def _finished(
    comm: MPI.Intracomm, source: Journal | NoJournal, history: History, order: _Order, part: tuple[int, int]
) -> Batch:
    """Put the results together, and write them if none is left. Collective."""
    is_writer = True
    if part != (0, 1) and isinstance(source, Journal):
        is_writer = source.take_all()
        history = source.read()
    rows = rows_of(comm, source, history)
    kinds, numbers = survey(comm, rows)
    table = fusion.table_of(comm, rows, kinds, numbers)
    if is_writer and not history.left.any():
        for output in order.outputs:
            fusion.write(comm, output, rows, kinds, table, order.name, len(order.items))
    elif order.outputs and comm.rank == 0:
        left = plural(int(np.count_nonzero(history.left)), "item")
        paths = ", ".join(output.path for output in order.outputs)
        _log.warning("%s left: %s is written by the run that leaves none", left, paths)
    block = functools.partial(_block, source, rows)
    return Batch(comm, history, order.failures(history), table, block)


def _block(source: Journal | NoJournal, rows: ResultRows) -> dict[int, bytes]:
    """The bytes of this rank's rows."""
    block = {item: rows.payload(item) for item in rows.items.tolist()}
    if isinstance(source, Journal):
        source.release()
    return block
