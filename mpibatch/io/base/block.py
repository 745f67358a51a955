"""What a driver writes: this rank's box of an array over ranks. A Field is a block, and so is a table's column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mpibatch.domain import Box

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Block", "whole_box"]


class Block(Protocol):
    """The members of a Field that writing needs, with the same meaning."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values. Local."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array, components last. Local."""

    @property
    def components(self) -> tuple[int, ...]:
        """The shape of its last axes, which are not spread over ranks. Local."""

    @property
    def box(self) -> Box:
        """The cells of this rank. Local."""

    @property
    def halo(self) -> tuple[tuple[int, int], ...]:
        """Cells around them in `padded`, along each axis. Local."""

    @property
    def padded(self) -> npt.NDArray[Any]:
        """This rank's cells and halo, C-contiguous. Local."""

    @property
    def owned(self) -> npt.NDArray[Any]:
        """The view of this rank's cells. Local."""


def whole_box(block: Block) -> Box:
    """Return the box of all cells. Local."""
    axes = len(block.shape) - len(block.components)
    return Box((0,) * axes, block.shape[:axes])
