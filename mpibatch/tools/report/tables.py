"""A study as tables of text, for the page and for Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpibatch.base.units import bytes_text, shape_text
from mpibatch.tools.report.measures import PHASES, Measures, Row
from mpibatch.tools.report.words import (
    PHASE_NAMES,
    clean,
    interval,
    percent,
    same_unit,
    seconds_text,
    short,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpibatch.tools.report.comparison import Comparison
    from mpibatch.tools.report.fits import FittedParameter

__all__ = ["Table", "comparison_table", "tables"]

MOST_COLUMNS = 6
LOADING = 0.01  # part of a time above which the table tells what it is without loading code


@dataclass(frozen=True)
class Table:
    """One table; the first column names the row. `note` says what the figures are."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    is_prose: bool = False  # cells are words, to be set to the left


def tables(m: Measures) -> list[Table]:
    """Return all tables of a study that have something to tell. Local."""
    made = (_scaling(m), _phases(m), _laps(m), _fits(m), _pop(m), _traffic(m), _kernels(m), _predicted(m))
    return [table for table in made if table.rows]


def _first(m: Measures) -> str:
    return "ranks" if m.by == "ranks" else "ranks × threads"


def _scaling(m: Measures) -> Table:
    unit, factor, digits = same_unit(row.time.median.value for row in m.rows)
    serial = "serial (Gustafson)" if m.is_weak else "serial (Karp–Flatt)"
    threads = [] if m.by == "cores" else ["threads"]
    size = ["cells"] if m.is_weak else []
    loading = any(row.bare is not None and row.typical.compile_seconds > LOADING * row.typical.total for row in m.rows)
    bare = ["without loading code"] if loading else []
    columns = (
        _first(m), *threads, *size, "runs", f"median, {unit}", f"min–max, {unit}", f"IQR, {unit}", f"MAD, {unit}",
        "speed-up (95 %)", "efficiency", *bare, serial,
    )  # fmt: skip

    def line(row: Row) -> tuple[str, ...]:
        def time(value: float) -> str:
            return f"{factor * value:.{digits}f}"

        return (
            row.label,
            *([str(row.point.threads)] if threads else []),
            *([shape_text(row.typical.shape) if row.typical.shape else "–"] if size else []),
            str(row.time.count),
            time(row.time.median.value),
            f"{time(row.time.least)}–{time(row.time.most)}",
            time(row.time.iqr),
            time(row.time.mad),
            "1 (base)" if row.is_base else interval(row.speedup),
            percent(row.efficiency.value),
            *(["–" if row.bare is None else f"{row.bare:.2f}, {percent(row.bare / row.ideal)}"] if bare else []),
            "–" if row.serial is None else percent(row.serial, 1),
        )

    against = f"{m.base.width} {m.by}" if m.base.width > 1 else f"1 {m.by.removesuffix('s')}"
    kind = "work per second" if m.is_weak else "speed"
    how = (
        "Gustafson’s serial fraction (doi:10.1145/42411.42415) of each point"
        if m.is_weak
        else "Karp and Flatt’s serial fraction (doi:10.1145/78607.78614): where it grows with the ranks, communication "
        "or imbalance costs more than what is serial"
    )
    note = (
        f"Time of the slowest rank, from the start of the job to its end, without the start of Python and MPI. "
        f"Speed-up is {kind} against {against}; in brackets its 95 % interval from the spread of the runs "
        f"(bootstrap of medians). {how}."
    )
    if bare:
        note += (
            " “Without loading code” is speed-up and efficiency of the times less what loading, or compiling, "
            "compiled code took on the rank where it took longest: as much in a long run as in a short one, it hides "
            "what a longer run would show."
        )
    return Table("scaling", "Scaling", columns, tuple(map(line, m.rows)), note)


def _phases(m: Measures) -> Table:
    rows = [row for row in m.rows if row.split]
    unit, factor, digits = same_unit(row.typical.total for row in rows)

    def phase_text(row: Row, phase: str) -> str:
        part = row.split.get(phase)
        if part is None:
            return "–"
        mean, slowest = f"{factor * part.mean:.{digits}f}", f"{factor * part.slowest:.{digits}f}"
        return mean if mean == slowest else f"{mean} / {slowest}"

    def line(row: Row) -> tuple[str, ...]:
        compute = row.split.get("compute")
        imbalance = f"{compute.slowest / compute.mean:.2f}" if compute and compute.mean > 0 else "–"
        slowest = "–" if row.slowest_rank is None else str(row.slowest_rank)
        return (row.label, *(phase_text(row, phase) for phase in PHASES), slowest, imbalance)

    columns = (_first(m), *(PHASE_NAMES[phase] for phase in PHASES), "slowest rank", "slowest / mean")
    note = (
        f"{'Seconds' if unit == 's' else 'Milliseconds' if unit == 'ms' else 'Microseconds'}: the mean over ranks / "
        "the most of a rank, of the run with the median time. The means add up to the whole. “Halo wait” is the "
        "exchange without packing: starting, and waiting for neighbors, who may be slow rather than far. The last two "
        "columns are of compute."
    )
    return Table("phases", "Where the time goes", columns, tuple(map(line, rows)), note)


def _laps(m: Measures) -> Table:
    rows = list(m.rows)
    if len(rows) > MOST_COLUMNS:  # the first, the last, and some between
        rows = [rows[round(i * (len(rows) - 1) / (MOST_COLUMNS - 1))] for i in range(MOST_COLUMNS)]
    names = list(dict.fromkeys(name for row in rows for name in row.typical.laps))

    def lap_text(name: str, row: Row) -> str:
        seconds, base = row.lap(name), m.base.lap(name)
        if seconds is None:
            return "–"
        gain = base / seconds * row.work / m.base.work if base and seconds else 0.0
        return short(seconds) if row.is_base or not gain else f"{short(seconds)} ({gain:.2f} ×)"

    lines = tuple((clean(name, 60), *(lap_text(name, row) for row in rows)) for name in names)
    note = "Median seconds of the slowest rank; in brackets its speed-up: what does not scale stands out."
    return Table("laps", "Part by part", ("part", *(f"on {row.label}" for row in rows)), lines, note)


def _fits(m: Measures) -> Table:
    lines = []
    for fit in m.fits:
        if fit.refused:
            lines.append((fit.law, fit.refused))
            continue
        estimates = "; ".join(_estimate(estimate) for estimate in fit.estimates)
        misfit = "" if fit.misfit is None else f" χ²/dof {short(fit.misfit)}."
        lines.append((fit.law, f"{estimates}. {fit.remark.capitalize()}.{misfit}"))
    laws = "Gustafson doi:10.1145/42411.42415" if m.is_weak else "Amdahl doi:10.1145/1465482.1465560"
    note = (
        f"Fitted to the medians (scipy.optimize.curve_fit, on logarithms, all parameters ≥ 0); ± is one standard "
        f"error. χ²/dof far above 1: the law does not describe these points. {laws}; Universal Scalability Law: "
        f"Gunther, arXiv:0808.1431."
    )
    return Table("fits", "Laws of scaling", ("law", "what the fit says"), tuple(lines), note, is_prose=True)


def _estimate(estimate: FittedParameter) -> str:
    letter = {"contention": "contention α", "coherency": "coherency β", "serial": "serial part"}.get(estimate.name)
    if estimate.name == "seconds":
        return f"{short(estimate.value)} ± {short(estimate.error or 0)} s for the first point’s work on one rank"
    if estimate.at_bound:
        return f"{letter} 0 (at its bound)"
    if estimate.name == "serial":
        error = "" if estimate.error is None else f" ± {short(100 * estimate.error)}"
        return f"{letter} {short(100 * estimate.value)}{error} %"
    return f"{letter} {estimate.value:.3g}" + ("" if estimate.error is None else f" ± {estimate.error:.2g}")


def _pop(m: Measures) -> Table:
    def line(row: Row) -> tuple[str, ...]:
        pop = row.pop
        assert pop is not None  # of the rows chosen below
        overall = "–" if pop.computation is None else percent(pop.parallel * pop.computation)
        computation = "–" if pop.computation is None else percent(pop.computation)
        return (
            row.label, percent(pop.load_balance), percent(pop.communication), percent(pop.parallel), computation,
            overall,
        )  # fmt: skip

    columns = (_first(m), "load balance", "communication", "parallel", "computation scaling", "global")
    note = (
        "Factors of the efficiency as POP defines them (co-design.pop-coe.eu/metrics), of the time without I/O. Load "
        "balance = mean / most useful time of a rank; communication = most useful time / runtime; parallel = their "
        "product; computation scaling = useful time of all ranks at the base against here (below 100 % where ranks "
        "share caches and memory, or compute more); global = parallel × computation scaling. Useful is what is outside "
        "MPI: compute, pack and other. How communication divides into serialization and transfer, and computation "
        "scaling into instructions, IPC and clock, only a trace with counters can tell; it is not claimed here. POP "
        "calls 80 % acceptable."
    )
    rows = [row for row in m.rows if row.pop is not None]
    return Table("pop", "Efficiency, taken apart", columns, tuple(map(line, rows)), note)


def _traffic(m: Measures) -> Table:
    def line(row: Row) -> tuple[str, ...]:
        def pair(quantity: str, bytes_: bool) -> str:
            total, most = row.traffic(quantity), row.traffic(quantity, "most")
            if total is None:
                return "–"
            text = bytes_text if bytes_ else lambda value: f"{value:,}".replace(",", " ")
            return text(int(total)) + (f" / {text(int(most))}" if most is not None and most != total else "")

        memory = row.typical.memory
        most, start = memory.get("most"), memory.get("start")
        return (
            row.label,
            shape_text(row.typical.topology) if row.typical.topology else "–",
            pair("messages", False),
            pair("bytes", True),
            bytes_text(int(most)) if most else "–",
            bytes_text(int(start)) if start else "–",
            f"{short(row.launch)} s" if row.launch else "–",
        )

    columns = (
        _first(m), "process grid", "messages", "bytes sent", "memory of a rank", "libraries alone", "start and end",
    )  # fmt: skip
    note = (
        "Messages and bytes of halo exchanges: all ranks / the most of a rank. Memory is the peak of the fullest rank. "
        "“Start and end” is what the launcher took beyond the run: starting Python and MPI, and leaving."
    )
    rows = [row for row in m.rows if row.typical.traffic or row.typical.memory or row.launch]
    return Table("traffic", "Messages and memory", columns, tuple(map(line, rows)), note)


def _kernels(m: Measures) -> Table:
    lines = tuple(
        (
            clean(roof.kernel, 40), roof.label, short(roof.intensity), short(roof.measured), short(roof.ceiling),
            percent(roof.share), f"{short(roof.triad)} ({roof.triad_ranks})",
        )
        for roof in m.roofs
    )  # fmt: skip
    columns = ("kernel", _first(m), "flop / byte", "GFlop/s", "ceiling", "of the ceiling", "triad, GB/s (ranks)")
    note = (
        "Operations and bytes per cell are those of the kernel’s footprint, each value read and written once (the "
        "lines that stores bring first are counted neither there nor in the triad); the "
        "ceiling is the measured triad × flop / byte (Williams, Waterman and Patterson, doi:10.1145/1498765.1498785), "
        "with the triad of as many ranks on a node, or the next fewer that was measured. Above 100 %: the cells were "
        "in a cache (small blocks, or fused time steps)."
    )
    return Table("kernels", "Kernels against memory", columns, lines, note)


def _predicted(m: Measures) -> Table:
    def pair(predicted: float | None, measured: float | None, text: Callable[[float], str]) -> tuple[str, str, str]:
        ratio = f"{predicted / measured:.2f}" if predicted and measured else "–"
        return text(predicted) if predicted else "–", text(measured) if measured else "–", ratio

    def memory(value: float) -> str:
        return bytes_text(int(value))

    lines = tuple(
        (
            row.label,
            *pair(row.predicted("seconds"), row.time.median.value, seconds_text),
            *pair(row.predicted("seconds_per_step"), row.seconds_per_step, seconds_text),
            *pair(row.predicted("memory"), row.typical.memory.get("most"), memory),
        )
        for row in m.rows
        if row.predicted("seconds") or row.predicted("memory")
    )
    step = "filters" if m.base.typical.kind == "pipeline" else "a step"
    columns = (_first(m), "run, predicted", "measured", "ratio", f"{step}, predicted", "measured", "ratio",
               "memory, predicted", "peak", "ratio")  # fmt: skip
    note = (
        "Predicted before the run from the machine’s profile and the job (mpibatch plan). Ratio = predicted / "
        "measured. The run’s time holds what is not predicted: loading compiled code, and what other programs did "
        "meanwhile."
    )
    return Table("predicted", "Predicted and measured", columns, lines, note)


def comparison_table(comparison: Comparison) -> Table:
    """Return what changed since another study, as a table. Local."""
    lines = tuple(
        (
            change.label, f"{short(change.old)} s ({change.runs[0]})", f"{short(change.new)} s ({change.runs[1]})",
            interval(change.ratio), f"{change.chance:.3f}", change.verdict, clean(change.where) or "–",
        )
        for change in comparison.changes
    )  # fmt: skip
    columns = ("ranks", "before (runs)", "now (runs)", "ratio of times (95 %)", "p", "verdict", "mostly in")
    note = (
        "Ratio above 1: slower. p is of Mann and Whitney’s test, two-sided. A change is named if p ≤ 0.05, the "
        "interval leaves out 1, and it is at least 2 %; of 20 points without a change about one is named all the same."
    )
    return Table("comparison", f"Against {clean(comparison.old, 120)}", columns, lines, note)
