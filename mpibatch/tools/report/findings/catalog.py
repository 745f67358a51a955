"""All findings of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.tools.report.findings import runs, study

if TYPE_CHECKING:
    from mpibatch.tools.report.findings.finding import Remark
    from mpibatch.tools.report.measures import Measures

__all__ = ["find"]


def find(measures: Measures) -> list[Remark]:
    """Return all findings, errors first. Local."""
    findings = [finding for check in (*study.CHECKS, *runs.CHECKS) for finding in check(measures)]
    return sorted(findings, key=lambda finding: ("error", "warning", "note").index(finding.level))
