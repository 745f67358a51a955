"""Measures of objects: connected components with scipy's numbers, and tables of what is known of each.

In dependency order: ``_loops`` (compiled), ``_engine`` (structures, places, rims, merging over ranks,
components, sums of labels), ``labelling``, ``regions``.

Importing this package loads none of its modules, and with them neither MPI nor numba; names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy import attach

if TYPE_CHECKING:
    from mpibatch.measure.labelling import label
    from mpibatch.measure.regions import RegionTable, find_objects, regionprops_table, value_indices
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "labelling": ("label",),
            "regions": ("RegionTable", "find_objects", "regionprops_table", "value_indices"),
        },
    )

__all__ = ["RegionTable", "find_objects", "label", "regionprops_table", "value_indices"]
