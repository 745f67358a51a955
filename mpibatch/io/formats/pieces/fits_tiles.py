"""FITS images in packed tiles (RICE, GZIP, HCOMPRESS, PLIO), through astropy: only the tiles of a box are unpacked."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mpibatch.base.errors import MpibatchError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.io.formats.source import Array, Selection, Source

__all__ = ["read"]


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Unpacks the tiles that the selection meets."""
    with _section(source.path, source.attrs["unit"]) as section:
        out[at] = section[tuple(slice(s.start, s.stop) for s in selection)][
            tuple(slice(None, None, s.step) for s in selection)
        ]


@contextmanager
def _section(path: str, number: int) -> Iterator[Any]:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Not mapped into memory: a disk that fails must end in an error, not in a signal.
            with fits.open(path, memmap=False, lazy_load_hdus=True) as file:
                yield file[number].section
    except MpibatchError:
        raise
    except Exception as error:  # astropy meets a damaged file with any of a dozen types
        raise RunError(
            f"{path!r} cannot be read as FITS ({error}); it is damaged or incomplete: copy it again"
        ) from error
