"""PNG and JPEG: decoded as a whole, turned as EXIF says. Components are the last axis; palettes become colors."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from mpibatch.base.errors import RunError
from mpibatch.io.base.names import no_dataset
from mpibatch.io.formats.source import Array, Selection, Source, native

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["inspect", "read"]

# Pillow's modes → how they are decoded; others as they are.
_DECODED_AS = {"P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}
_DTYPES = {"1": "|b1", "I;16": "=u2", "I;16B": "=u2", "I": "=i4", "F": "=f4"}
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange rows and columns
_ORIENTATION = 0x0112  # EXIF's tag
_COLOR_TYPES = (2, 4, 6)  # of PNG: RGB, gray with alpha, RGBA


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what a picture holds, from its header. Local."""
    no_dataset(path, dataset, "PNG and JPEG")
    with open(path, "rb") as file:
        head = file.read(26)
    if head.startswith(b"\x89PNG") and len(head) == 26 and head[24] == 16 and head[25] in _COLOR_TYPES:
        raise RunError(f"{path!r} has 16 bits per color, and decoding would lose 8 of them; convert it to TIFF")
    with _opened(path) as picture:
        mode = _mode(picture)
        bands = len(PIL.Image.new(mode, (1, 1)).getbands())
        size = (picture.height, picture.width)
        shape = (size[::-1] if _orientation(path, picture) in _SIDEWAYS else size) + ((bands,) if bands > 1 else ())
        return Source(path, "picture", "", shape, native(_DTYPES.get(mode, "|u1")), int(bands > 1), boxwise=False)


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Decodes the whole picture."""
    with _opened(source.path) as picture:
        mode = _mode(picture)
        try:
            decoded = picture if mode == picture.mode else picture.convert(mode)
            out[at] = np.asarray(PIL.ImageOps.exif_transpose(decoded))[selection]
        except (OSError, SyntaxError, ValueError) as error:
            raise RunError(f"{source.path!r} cannot be decoded ({error}); it is damaged or incomplete") from error


def _opened(path: str) -> Any:
    try:
        with warnings.catch_warnings():
            # Large pictures are what this package is for.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            return PIL.Image.open(path, formats=("PNG", "JPEG"))
    except PIL.Image.DecompressionBombError as error:
        raise RunError(f"{path!r} is too large for the decoder ({error}); convert it to TIFF or npy") from error
    except (OSError, SyntaxError) as error:
        raise RunError(f"{path!r} cannot be decoded ({error}); it is damaged or incomplete") from error


def _orientation(path: str, picture: Any) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError) as error:
        raise RunError(f"{path!r} cannot be decoded ({error}); it is damaged or incomplete") from error


def _mode(picture: Any) -> str:
    if picture.mode == "P" and "transparency" in picture.info:
        return "RGBA"
    return str(_DECODED_AS.get(picture.mode, picture.mode))
