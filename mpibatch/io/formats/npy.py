"""NumPy's npy files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.errors import RunError, UsageError
from mpibatch.io.base.names import no_dataset
from mpibatch.io.formats.source import Array, Selection, Source, native

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["inspect", "read"]


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what a file holds. Local."""
    no_dataset(path, dataset, "npy")
    array = _mapped(path)
    return Source(path, "npy", "", array.shape, "compound" if array.dtype.names else native(array.dtype))


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``; only the pages of the file that hold the box are touched. Local."""
    out[at] = _mapped(source.path)[selection]


def _mapped(path: str) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header meets NumPy's, Python's and the C library's limits
        if "Python objects" in str(error):
            raise UsageError(f"cannot read {path!r}: it holds Python objects; save an array of numbers") from error
        raise RunError(
            f"{path!r} cannot be read as npy ({error}); it is damaged or incomplete: write it anew"
        ) from error
