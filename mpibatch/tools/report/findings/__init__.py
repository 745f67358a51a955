"""What a reader of a study should not believe, or should do: each finding with its words and what to do about it.

A finding is made from what the records hold, and names the figures it rests on. The thresholds are constants of the
modules: ``study``, how it was made; ``runs``, what its runs show; ``catalog``: all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.tools.report.findings.catalog import find
    from mpibatch.tools.report.findings.finding import Remark
else:
    __getattr__, __dir__ = attach(__name__, {"catalog": ("find",), "finding": ("Remark",)})

__all__ = ["Remark", "find"]
