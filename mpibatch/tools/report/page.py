"""The report: one page that needs nothing else, and the files beside it.

Values from records are text from elsewhere: Jinja2 escapes all of them. Only the SVG of our own plots, whose letters
are outlines, is inserted as it is. The page has no script, and its policy lets it load nothing.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mpibatch import __version__
from mpibatch.base.errors import RunError
from mpibatch.tools.report import exports, extrap, tables, words
from mpibatch.tools.report.findings import Remark, find
from mpibatch.tools.report.plots import Plot, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpibatch.tools.report.comparison import Comparison
    from mpibatch.tools.report.measures import Measures

__all__ = ["FOLDER", "PAGE", "check_installed", "page", "write"]

FOLDER, PAGE = "report", "index.html"
TEMPLATES = Path(__file__).parent / "templates"
NO_BREAK = "\u00a0"
_NEEDED = ("jinja2", "matplotlib", "scipy")


def check_installed() -> None:
    """Raise a RunError if what draws and fits is not installed. Local."""
    absent = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise RunError(
            f"a report needs {' and '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed; "
            "install with: pip install 'mpibatch[report]'"
        )


def write(measures: Measures, folder: Path, comparison: Comparison | None = None) -> list[Remark]:
    """Write page, plots and tables into a folder; return what was found. Local."""
    findings = find(measures)
    plots = draw(measures)
    texts = {
        PAGE: page(measures, findings, plots, comparison),
        "report.md": exports.as_markdown(measures, findings, comparison),
        "report.json": exports.as_json(measures, findings, comparison),
        "points.csv": exports.as_csv(measures),
        "runs.csv": exports.runs_as_csv(measures),
        "extrap.txt": extrap.text(measures),
        "extrap.jsonl": extrap.json_lines(measures),
        **{f"{plot.name}.svg": f'<?xml version="1.0" encoding="utf-8"?>\n{plot.svg}\n' for plot in plots},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for plot in plots:
            (folder / f"{plot.name}.png").write_bytes(plot.png)
        # The page last: where it is, the rest is, too.
        for name, text in reversed(texts.items()):
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"the report cannot be written to {folder}: {error.strerror}; name another folder with --output"
        ) from None
    return findings


def page(
    measures: Measures, findings: Sequence[Remark], plots: Sequence[Plot], comparison: Comparison | None = None
) -> str:
    """Return the page. Local. Needs Jinja2."""
    import jinja2
    import markupsafe

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters.update(ours=markupsafe.Markup, sentence=lambda text: text[:1].upper() + text[1:], bound=_bound)
    study = measures.study
    text: str = environment.get_template("report.html.j2").render(
        version=__version__,
        title=words.title(measures),
        summary=words.summary(measures, {finding.key for finding in findings}),
        promise=words.promise(measures),
        losses=words.losses(measures),
        mode=study.mode,
        created=words.moment(study.created),
        machine=words.clean(study.machine.get("cpu") or study.machine.get("host") or "", 80),
        findings=findings,
        comparison=comparison,
        comparison_table=tables.comparison_table(comparison) if comparison is not None else None,
        plots=plots,
        tables=tables.tables(measures),
        facts=words.facts(measures),
        job=study.job,
    )
    # A job's text may have characters that no page may hold.
    return "".join(c for c in text if c in f"\n\t{NO_BREAK}" or c.isprintable())


def _bound(text: str) -> str:
    """Text whose numbers stay on one line with their units."""
    return re.sub(
        r"(?<=\d) (?=(?:s|ms|µs|GB/s|[KMGT]iB|ranks?|cores?|runs?)\b|[%×])|(?<=,) (?=(?:s|ms|µs)$)", NO_BREAK, text
    )
