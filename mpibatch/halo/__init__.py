"""Halos: who sends which cells to whom (`plan`, pure), who moves them (`engines`), and the public calls (`exchange`).

One rule: every halo cell has one global source cell. A halo interval is mapped into the domain by the wall's
mode (`mpibatch.domain.walls`), cut along the owners' blocks, and the plan is the product over the axes.

Names are found when first used: `plan` must work where MPI is not installed.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from mpibatch.halo.plan import Halo, Move

if TYPE_CHECKING:
    from mpibatch.halo.exchange import Exchange, exchange, padded_copy, slabs

__all__ = ["Exchange", "Halo", "Move", "exchange", "padded_copy", "slabs"]


class _Package(types.ModuleType):
    """`exchange` is the function, also when Python has put the submodule of this name here."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("Exchange", "exchange", "padded_copy", "slabs"):
            return getattr(importlib.import_module(f"{__name__}.exchange"), name)
        return super().__getattribute__(name)


sys.modules[__name__].__class__ = _Package
