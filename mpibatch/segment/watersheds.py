"""Watersheds: the basins into which an image falls when it is flooded from markers: scikit-image's name and rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mpibatch.base.errors import UsageError
from mpibatch.base.log import logger
from mpibatch.fields.field import Field
from mpibatch.filters._engine.arguments import whole
from mpibatch.filters._engine.memory import check_memory
from mpibatch.measure._engine.places import wide
from mpibatch.measure.connected_components import label
from mpibatch.mpi import agreed
from mpibatch.segment._engine.arguments import check_picture, check_together
from mpibatch.segment._engine.basins import Basins, basin_bytes
from mpibatch.segment._engine.neighborhood import Neighborhood, resolved
from mpibatch.segment._engine.places import first_place
from mpibatch.segment._engine.relaxation import summed
from mpibatch.segment._engine.seeds import regular_seeds
from mpibatch.segment.peaks import local_minima

__all__ = ["watershed"]

Array = npt.NDArray[Any]
NAME = "watershed"


def watershed(
    image: Field,
    markers: Field | int | None = None,
    connectivity: Any = 1,
    offset: None = None,
    mask: Field | None = None,
    compactness: float = 0,
    watershed_line: bool = False,
    *,
    return_ties: bool = False,
) -> Any:
    """Return to which marker each cell belongs when the image is flooded from them, the lowest cells first.

    Parameters
    ----------
    image : Field
        Without components: bool, integers or floats. Where it can be flooded it is not NaN.
    markers : Field of integers or int, optional
        Labels where the water comes from, elsewhere 0, on the grid of `image`; or about how many there are to be,
        evenly spread. By default the local minima are numbered.
    connectivity : int or array of 0 and 1, default 1
        Along how many axes neighbors may be apart, or which they are: a symmetric footprint.
    offset : None, optional
        To be left out: the center of a footprint is its middle.
    mask : Field, optional
        Nonzero where the image can be flooded; everywhere unless given.
    compactness : float, default 0
        To be left at 0: the compact flood depends on the order of single cells.
    watershed_line : bool, default False
        To be left False: where such lines run depends on the order of single cells.
    return_ties : bool, default False
        Return the cells, too, that were reached from several neighbors alike.

    Returns
    -------
    labels : Field
        Of the dtype of the markers (int64 of a number of them; int32, or as of `label`, of minima), without a halo;
        0 where no marker leads to.
    ties : Field of bool
        With `return_ties`: see below.

    Raises
    ------
    UsageError
        On all ranks: a marker lies outside the mask, the image is NaN within it, or a parameter is not valid.

    Notes
    -----
    Collective. A cell's level is the least height that lets water come to it: the highest cell of the way from a
    marker whose highest is lowest. Water that rises to a plateau, or pours over a pass, spreads there step by step: a
    cell's layer is the number of steps within its level. Each cell gets the label of the neighbor of the least level
    and, of equals, layer; of several such neighbors the first counts, nearest ones first and else in raster order. That
    depends on no queue, so that labels have the same bits on any number of ranks.

    ``skimage.segmentation.watershed`` leaves that last choice to its queue. A cell with such a choice is a tie, and
    labels are equal to scikit-image's wherever neither the cell nor one on its way to the marker is one. The number
    of ties is logged, and `return_ties` shows them; there are none where all heights differ. Two more differences:
    integers are compared as such, not as f8; and markers outside the mask, which scikit-image drops in silence, are an
    error, because a label would vanish: drop them by ``markers * (mask != 0)``.

    Each rank floods its block from a queue, then again from what neighbors bring, while anything changes: about as
    often as the longest way crosses from one rank to another, with one exchange of faces each time, which only goes
    on where a level or layer became less. Labels then come along the ways in rounds by the logarithm of that.
    Memory: the block with its halo, twice in the image's dtype (in 4 bytes at least for integers but bool and uint8, in
    8 for uint32), and 5 bytes per cell (9 from 2**29 cells on), and what markers hold. All but one of these are gone
    before labels take their place, and 4 bytes. An image of f4 or f8 whose halo is as wide as neighbors are away is not
    copied, and markers that nobody else holds are let go before the flood.
    On a periodic axis water flows around. Method: doi:10.1016/0165-1684(90)90127-K.

    Examples
    --------
    >>> import numpy as np
    >>> import mpibatch as mb
    >>> from mpibatch import segment
    >>> u = mb.Grid(8).from_function(lambda x: np.array([1, 0, 2, 5, 3, 2, 1, 4])[x.astype(int)], "i4")
    >>> mb.gather_all(segment.watershed(u)).tolist()
    [1, 1, 1, 1, 2, 2, 2, 2]
    """
    check_picture(NAME, image)
    near = _neighborhood(connectivity, image.grid.ndim)
    _check_options(offset, compactness, watershed_line)
    if mask is not None:
        check_together(NAME, image, mask, "mask")
    if isinstance(markers, Field):
        check_together(NAME, image, markers, "markers")
        if markers.dtype.kind not in "iu":
            raise UsageError(
                f"{NAME}: markers are of {markers.dtype}; give whole numbers, such as mpibatch.label(markers)[0]"
            )
    allowed: Any = True
    if mask is not None:
        allowed = mask.owned if mask.dtype == np.bool_ else mask.owned != 0
    about = "minima" if markers is None else markers.dtype if isinstance(markers, Field) else repr(markers)
    with agreed(image.grid.comm, f"{NAME} over {near.steps.tolist()} from {about}, {mask is None}, {return_ties}"):
        _check_cells(image, allowed, markers if isinstance(markers, Field) else None)
    if not isinstance(markers, Field):
        # Now, and not when there are markers, which are gone before the flood.
        item = 8 if markers is not None or wide(image.grid.shape) else 4
        check_memory(image.grid, NAME, basin_bytes(image, near, item), "its blocks", "take more ranks")
    if isinstance(markers, Field):
        seeds: Array = markers.owned
    elif markers is None:
        seeds = _minima(image, allowed, near)
    else:
        seeds = _spread(image, allowed, markers)
    basins = Basins(NAME, image, seeds, allowed, near)
    ties = Field(image.grid, np.bool_) if return_ties else None
    if ties is not None:
        ties.owned[...] = False
    del markers, seeds  # which the caller, too, may not hold any more
    basins.flood()
    labels, tied = basins.labels(None if ties is None else ties.owned)
    logger("segment").info("%s: %d cells were reached from several neighbors alike", NAME, tied)
    return labels if ties is None else (labels, ties)


def _neighborhood(connectivity: Any, ndim: int) -> Neighborhood:
    """Return the neighbors that a number or a footprint names. Local."""
    if connectivity is None or np.ndim(connectivity) == 0:
        return resolved(NAME, None, 1 if connectivity is None else connectivity, ndim)
    return resolved(NAME, connectivity, None, ndim)


def _check_options(offset: Any, compactness: Any, watershed_line: Any) -> None:
    """Raise UsageError for options of scikit-image that there are not. Local."""
    if offset is not None:
        raise UsageError(f"{NAME}: offset = {offset!r}; a footprint's center is its middle: leave offset out")
    if compactness != 0:
        raise UsageError(
            f"{NAME}: compactness = {compactness!r}; the compact flood depends on the order of single cells, which "
            "ranks do not share: leave compactness out"
        )
    if watershed_line:
        raise UsageError(
            f"{NAME}: watershed_line = {watershed_line!r}; which cells a line takes depends on the order of single "
            "cells, which ranks do not share: leave it out, and take where labels differ from their neighbors'"
        )


def _check_cells(image: Field, allowed: Any, markers: Field | None) -> None:
    """Raise UsageError for NaN in the mask, and for a marker outside it. Local."""
    if image.dtype.kind == "f":
        is_nan = np.isnan(image.owned) & allowed
        if is_nan.any():
            raise UsageError(
                f"{NAME}: the image is NaN at {first_place(image, is_nan)}; replace NaN (np.nan_to_num), or leave "
                "such cells out by mask=~np.isnan(image)"
            )
    if markers is not None and allowed is not True:
        is_outside = (markers.owned != 0) & ~allowed
        if is_outside.any():
            place = first_place(image, is_outside)
            number = markers.owned[tuple(i - low for i, low in zip(place, image.box.start, strict=True))]
            raise UsageError(
                f"{NAME}: the marker {number} at {place} lies outside the mask, where nothing is flooded; drop what is "
                "outside (markers * (mask != 0), as scikit-image does), or enlarge the mask"
            )


def _minima(image: Field, allowed: Any, near: Neighborhood) -> Array:
    """Return the numbers of the local minima within the mask, over the owned cells. Collective."""
    ndim = image.grid.ndim
    if any(width != (1, 1) for width in near.reach):
        raise UsageError(
            f"{NAME}: minima are numbered with neighbors up to one cell away along each axis, and these reach "
            f"{[width[0] for width in near.reach]}; give markers"
        )
    structure = near.form()
    structure[(1,) * ndim] = True
    minima = local_minima(image, structure)
    minima.owned[...] &= allowed
    numbers: Array = label(minima, structure)[0].owned
    return numbers


def _spread(image: Field, allowed: Any, markers: Any) -> Array:
    """Return the numbers of evenly spread cells within the mask, about as many, over the owned cells. Collective."""
    size = math.prod(image.grid.shape)
    count = whole(NAME, "markers", markers)
    if count < 1:
        raise UsageError(f"{NAME}: markers = {markers!r}; give their number, 1 or more, or a Field of labels")
    inside = size if allowed is True else summed(image, int(np.count_nonzero(allowed)))
    # As many within the mask, not in all; scikit-image's operations in their order.
    points = int(count / (inside / size)) if inside else 0
    if not points:
        return np.zeros(image.owned.shape, np.int64)
    seeds = regular_seeds(image.grid, points)
    seeds *= allowed
    return seeds
