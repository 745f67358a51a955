"""Batches: many items over many ranks, without a master, with a journal, and the same bytes on any ranks.

`map_items` is the public call. The modules, in order of dependency: ``records`` (bytes of a journal), ``payloads``
(bytes of results), ``items`` (names, and what tells a batch from others), ``schedule`` (order and teams), ``secrecy``
(what is sealed), ``log`` (what a rank notes), ``history`` (what all have noted), ``journal`` (the folder), ``rows``
(results in the order of items), ``fusion`` (tables and files), ``results``, ``work`` (a rank's loop), ``map``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.batch.log import Failure
    from mpibatch.batch.map import map_items
    from mpibatch.batch.results import Batch
else:
    __getattr__, __dir__ = attach(__name__, {"log": ("Failure",), "map": ("map_items",), "results": ("Batch",)})

__all__ = ["Batch", "Failure", "map_items"]
