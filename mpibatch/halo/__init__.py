"""Halos: who sends which cells to whom (`plan`, pure), who moves them (`stages`), and the public calls (`exchange`).

Ranks of one node may take faces from memory that both see (`node_memory`, `shared_stages`) in place of messages.

One rule: every halo cell has one global source cell. A halo interval is mapped into the domain by the wall's
mode (`mpibatch.domain.walls`), cut along the owners' blocks, and the plan is the product over the axes.

Names are found when first used: `plan` must work where MPI is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach
from mpibatch.halo.plan import Halo, Move

if TYPE_CHECKING:
    from mpibatch.halo.exchanges import Exchange, exchange
    from mpibatch.halo.sums import add_halo
    from mpibatch.halo.surroundings import padded_copy, slabs
else:
    __getattr__, __dir__ = attach(
        __name__,
        {"exchanges": ("Exchange", "exchange"), "sums": ("add_halo",), "surroundings": ("padded_copy", "slabs")},
    )

__all__ = ["Exchange", "Halo", "Move", "add_halo", "exchange", "padded_copy", "slabs"]
