"""A report in other forms than the page: Markdown for people, CSV and JSON for other programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from typing import TYPE_CHECKING, Any

from mpibatch.tools.report.measures import PHASES, Measures
from mpibatch.tools.report.tables import Table, comparison_table, tables
from mpibatch.tools.report.words import clean, facts, losses, promise, summary, title

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mpibatch.tools.report.comparison import Comparison
    from mpibatch.tools.report.findings import Remark

__all__ = ["as_csv", "as_json", "as_markdown", "runs_as_csv"]


def as_markdown(m: Measures, findings: Sequence[Remark], comparison: Comparison | None) -> str:
    """Return the report as Markdown. Local."""
    lines = [f"# {_escaped(title(m))}", "", _escaped(summary(m, {finding.key for finding in findings})), ""]
    for paragraph in filter(None, (losses(m), promise(m))):
        lines += [_escaped(paragraph), ""]
    for finding in findings:
        lines += [f"- **{finding.level}**: {_escaped(finding.words)} *{_escaped(finding.advice)}*"]
    lines += [""] * bool(findings)
    chosen = tables(m)
    if comparison is not None:
        lines += [_escaped(f"Compared with {clean(comparison.old)}: {comparison.summary}."), ""]
        lines += [f"- {_escaped(remark)}" for remark in comparison.remarks]
        chosen.append(comparison_table(comparison))
    for table in chosen:
        lines += ["", f"## {_escaped(table.title)}", "", *_markdown_rows(table), "", _escaped(table.note)]
    lines += ["", "## What was run", ""]
    lines += [f"- **{name}**: {_escaped(value)}" for name, value in facts(m)]
    return "\n".join(lines) + "\n"


def _markdown_rows(table: Table) -> list[str]:
    align = "|".join("---" if table.is_prose or not place else "---:" for place in range(len(table.columns)))
    rows = [table.columns, *table.rows]
    text = [f"| {' | '.join(_escaped(entry) for entry in row)} |" for row in rows]
    return [text[0], f"|{align}|", *text[1:]]


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no end of a cell."""
    return re.sub(r"([\\`*_{}\[\]<>|#~!$&])", r"\\\1", clean(text, 4000))


def as_csv(m: Measures) -> str:
    """Return one line for each point. Local."""
    rows = []
    for row in m.rows:
        record: dict[str, Any] = {
            "ranks": row.point.ranks, "threads": row.point.threads, "runs": row.time.count,
            "median_s": row.time.median.value, "median_low_s": row.time.median.low,
            "median_high_s": row.time.median.high, "min_s": row.time.least, "max_s": row.time.most,
            "iqr_s": row.time.iqr, "mad_s": row.time.mad, "work_cell_updates": row.work,
            "speedup": row.speedup.value, "speedup_low": row.speedup.low, "speedup_high": row.speedup.high,
            "efficiency": row.efficiency.value, "speedup_without_loading": row.bare, "serial_fraction": row.serial,
            "slowest_rank": row.slowest_rank,
        }  # fmt: skip
        for phase in PHASES:
            part = row.split.get(phase)
            record[f"{phase}_mean_s"] = part.mean if part else None
            record[f"{phase}_slowest_s"] = part.slowest if part else None
        record |= {
            f"{quantity}_{which}": row.traffic(quantity, which)
            for quantity in ("messages", "bytes")
            for which in ("total", "most")
        }
        record |= {"memory_most_bytes": row.typical.memory.get("most"), "launch_s": row.launch}
        for name in ("parallel", "load_balance", "communication", "computation"):
            record[f"pop_{name}"] = getattr(row.pop, name) if row.pop else None
        record |= {f"predicted_{quantity}": row.predicted(quantity) for quantity in ("seconds", "memory")}
        rows.append(record)
    return _csv(rows)


def runs_as_csv(m: Measures) -> str:
    """Return one line for each run. Local."""
    return _csv(
        {
            "ranks": run.ranks, "threads": run.threads, "repeat": run.repeat, "date": run.date, "total_s": run.total,
            **{f"{p}_{w}_s": run.seconds.get(p, {}).get(w) for p in PHASES for w in ("mean", "slowest")},
            "launch_s": run.launch_seconds, "compile_s": run.compile_seconds, "digest": run.digest,
            "hosts": " ".join(map(str, run.hosts)),
        }
        for run in m.runs
    )  # fmt: skip


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    listed = list(rows)
    writer = csv.DictWriter(text, list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in listed)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Text that a spreadsheet takes for text: a record must not bring formulas."""
    if isinstance(value, str):
        line = clean(value)
        return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
    return "" if value is None else repr(value) if isinstance(value, float) else value


def as_json(m: Measures, findings: Sequence[Remark], comparison: Comparison | None) -> str:
    """Return all figures as JSON. Local."""
    rows = []
    for row in m.rows:
        figures = dataclasses.asdict(dataclasses.replace(row, point=None, typical=None))  # type: ignore[arg-type]
        for key in ("point", "typical"):
            del figures[key]
        rows.append({"ranks": row.point.ranks, "threads": row.point.threads, **figures, "times": row.times})
    study = m.study
    document = {
        "schema": 1, "title": title(m), "summary": summary(m, {finding.key for finding in findings}),
        "promise": promise(m), "mode": study.mode,
        "name": study.name, "created": study.created, "commit": study.commit, "commits": m.commits,
        "fingerprint": study.fingerprint, "machine": dict(study.machine), "facts": dict(facts(m)), "by": m.by,
        "points": rows,
        "fits": [dataclasses.asdict(fit) for fit in m.fits],
        "roofline": [{**dataclasses.asdict(roof), "share": roof.share} for roof in m.roofs],
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "comparison": None if comparison is None else dataclasses.asdict(comparison),
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
