"""All that is wrong with a job, told at once, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpibatch.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpibatch.job.document.lines import KeyPath

__all__ = ["Place", "Problems"]

# Where a value was written: a number to sort by, and the words for the user ("job.toml:7", "--set step.sigma=3").
Place = tuple[int, str]


@dataclass
class Problems:
    """A growing list; `places` tells where each key was written, `source` is named where no place is known.

    `remedy` says what to do where the problems themselves do not.
    """

    source: str
    places: Mapping[KeyPath, Place] = field(default_factory=dict)
    entries: list[tuple[int, str]] = field(default_factory=list)
    remedy: str = ""

    def add(self, path: KeyPath, text: str) -> None:
        """Note one problem with the value at `path`, or with its nearest parent that has a place. Local."""
        order, where = 0, self.source
        for end in range(len(path), 0, -1):
            if path[:end] in self.places:
                order, where = self.places[path[:end]]
                break
        self.entries.append((order, f"{where}: {text}" if where else text))

    def check(self) -> None:
        """Raise one UsageError with every problem, in the order in which they were written; none: return. Local."""
        if not self.entries:
            return
        texts = [text for _, text in sorted(self.entries, key=lambda entry: entry[0])]
        if len(texts) == 1:
            raise UsageError("; ".join(filter(None, [texts[0], self.remedy])))
        head = f"{self.source}: " if self.source else ""
        lines = "\n  ".join([f"{head}{len(texts)} problems", *texts])
        raise UsageError("\n".join(filter(None, [lines, self.remedy])))
