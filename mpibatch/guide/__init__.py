"""The user's guide: one Markdown file a chapter, printed by ``mpibatch guide CHAPTER``.

.. include:: start.md
.. include:: grids.md
.. include:: kernels.md
.. include:: filters.md
.. include:: objects.md
.. include:: resampling.md
.. include:: fourier.md
.. include:: files.md
.. include:: secrecy.md
.. include:: trust.md
.. include:: jobs.md
.. include:: batches.md
.. include:: resuming.md
.. include:: flows.md
.. include:: plasmas.md
.. include:: gravity.md
.. include:: risk.md
.. include:: catalog.md
.. include:: kmers.md
.. include:: tomo.md
.. include:: cells.md
.. include:: cluster.md
.. include:: containers.md
.. include:: scaling.md
.. include:: promise.md
.. include:: performance.md
.. include:: architecture.md
.. include:: contributing.md
"""

from __future__ import annotations

import re
from pathlib import Path

from mpibatch.base.errors import UsageError, nearest

__all__ = ["CHAPTERS", "chapter", "title"]

# In the order in which they are read: the one that the docstring includes them in.
CHAPTERS = tuple(re.findall(r"include:: (\w+)\.md", __doc__))


def chapter(name: str) -> str:
    """Return the text of a chapter, as Markdown. Local. UsageError if there is none of this name."""
    if name not in CHAPTERS:
        raise UsageError(f"chapter {name!r} of the guide is unknown{nearest(name, CHAPTERS)}")
    return (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8")


def title(name: str) -> str:
    """Return the title of a chapter. Local."""
    return chapter(name).partition("\n")[0].lstrip("# ")
