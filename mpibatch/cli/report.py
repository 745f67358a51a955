"""``mpibatch report``: what a scaling study shows, as a page, plots and tables."""

from __future__ import annotations

import argparse

__all__ = ["add", "execute"]

EPILOG = """\
The report is one page, index.html, which needs no network and can be printed; beside it lie the plots (SVG, PNG), a
Markdown table, points.csv, runs.csv and report.json, and the study for Extra-P (extrap.txt, extrap.jsonl). It holds
speed-up and efficiency with intervals, where the time goes, fits of the laws of scaling, and warnings: read these
before you quote a figure. The same study gives the same bytes.

examples:
  mpibatch report study
  mpibatch report study --output public/scaling
  mpibatch report study --compare ../last-month/study --fail-on-slower

exit codes: 0 the report is written, 1 it could not be, or (with --fail-on-slower) a point became slower than in the
old study by more than the noise, 2 usage error
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add the command to the command line. Local."""
    parser = commands.add_parser(
        "report",
        parents=[shared],
        help="make a page of a scaling study",
        description="Make a page, plots and tables from a study. Needs: pip install 'mpibatch[report]'.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", metavar="STUDY", help="the study's folder")
    parser.add_argument("--output", metavar="DIR", help="where to write (default: STUDY/report)")
    parser.add_argument("--compare", metavar="OLD", help="another study, to say what became slower or faster since")
    parser.add_argument("--fail-on-slower", action="store_true", help="with --compare: exit code 1 if a point did")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Run the command; under mpiexec rank 0 alone works. Local."""
    from pathlib import Path

    from mpibatch.base.errors import UsageError
    from mpibatch.base.processes.launch import launched
    from mpibatch.cli._exit import OK, RUN_ERROR, printable
    from mpibatch.tools.report import comparison, measures, page, words
    from mpibatch.tools.scaling.folder import load

    if launched()[0] != 0:
        return OK
    if args.fail_on_slower and not args.compare:
        raise UsageError("--fail-on-slower needs a study to compare with: --compare OLD")
    chosen_study = load(args.study)
    before = load(args.compare) if args.compare else None
    page.check_installed()
    measured = measures.measure(chosen_study)
    changes = comparison.compare(measured, measures.measure(before)) if before is not None else None
    folder = Path(args.output) if args.output else chosen_study.path / page.FOLDER
    findings = page.write(measured, folder, changes)
    slower = bool(changes and changes.slower)
    if not args.quiet:
        lines = [words.summary(measured, {finding.key for finding in findings})]
        lines += [f"{finding.level}: {finding.words} {finding.advice}" for finding in findings]
        if changes is not None:
            lines += [*changes.remarks, f"against {args.compare}: {changes.summary}"]
        print(printable("\n".join([*lines, f"report: {folder / page.PAGE}"])))
    return RUN_ERROR if slower and args.fail_on_slower else OK
