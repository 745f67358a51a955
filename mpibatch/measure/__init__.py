"""Measures of objects: connected components with scipy's numbers, and tables of their properties.

In dependency order: ``_loops`` (compiled), ``_engine`` (structures, places, sums of labels), ``_components``
(those of a block, merged and numbered over ranks), ``_properties`` (columns of tables), ``_groups`` (the cells of each
label), ``connected_components``, ``regions``, ``image_moments``, ``label_sums`` and ``label_order`` (reductions of the
values of each).

Importing this package loads none of its modules, and with them neither MPI nor numba; names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.measure.connected_components import label
    from mpibatch.measure.image_moments import moments, moments_central
    from mpibatch.measure.label_order import extrema, maximum, maximum_position, median, minimum, minimum_position
    from mpibatch.measure.label_sums import center_of_mass, histogram, mean, standard_deviation, sum_labels, variance
    from mpibatch.measure.regions import RegionTable, find_objects, regionprops_table, value_indices
else:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "image_moments": ("moments", "moments_central"),
            "label_order": ("extrema", "maximum", "maximum_position", "median", "minimum", "minimum_position"),
            "label_sums": ("center_of_mass", "histogram", "mean", "standard_deviation", "sum_labels", "variance"),
            "connected_components": ("label",),
            "regions": ("RegionTable", "find_objects", "regionprops_table", "value_indices"),
        },
    )

__all__ = [
    "RegionTable",
    "center_of_mass",
    "extrema",
    "find_objects",
    "histogram",
    "label",
    "maximum",
    "maximum_position",
    "mean",
    "median",
    "minimum",
    "minimum_position",
    "moments",
    "moments_central",
    "regionprops_table",
    "standard_deviation",
    "sum_labels",
    "value_indices",
    "variance",
]
