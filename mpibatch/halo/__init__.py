"""Halos: who sends which cells to whom (`plan`, pure), who moves them (`engines`), and the public calls (`exchange`).

One rule: every halo cell has one global source cell. A halo interval is mapped into the domain by the wall's
mode (`mpibatch.domain.walls`), cut along the owners' blocks, and the plan is the product over the axes.
"""

from mpibatch.halo.exchange import Exchange, exchange, padded_copy, slabs
from mpibatch.halo.plan import Halo, Move

__all__ = ["Exchange", "Halo", "Move", "exchange", "padded_copy", "slabs"]
