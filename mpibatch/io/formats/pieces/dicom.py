"""DICOM images through pydicom: one file, of one frame or several, decoded as a whole; `stack` makes volumes of many.

Numbers are rescaled to what they stand for (slope and intercept), and colors are red, green, blue.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.pixels.utils import pixel_array

from mpibatch.base.errors import MpibatchError, RunError, UsageError
from mpibatch.io.formats.flat.arrays import linear
from mpibatch.io.formats.picks import parse_picks
from mpibatch.io.formats.source import Array, Scaling, Selection, Source, Storage, native

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["inspect", "ordered", "read"]

MOST_PIXELS = 1 << 40
_TAGS = ["ImagePositionPatient", "ImageOrientationPatient"]


def inspect(path: str, dataset: str | None, allow: Sequence[str] = ()) -> Source:
    """Tell what an image holds, from its header; ``frame=2`` picks one of several. Local."""
    with _opened(path) as image:
        if "Rows" not in image or "BitsAllocated" not in image:
            raise UsageError(f"cannot read {path!r}: it is DICOM without an image; give the file of one")
        if image.PhotometricInterpretation == "PALETTE COLOR":
            raise UsageError(f"cannot read {path!r}: its colors are numbers of a palette; convert it to RGB")
        frames, samples = int(image.get("NumberOfFrames", 1) or 1), int(image.SamplesPerPixel)
        number = parse_picks(path, dataset).number({"T": frames}, "T") if dataset else None
        count = 1 if number is not None else frames
        plane = int(image.Rows), int(image.Columns)
        if min(plane) < 1 or not 1 <= samples <= 4 or frames * plane[0] * plane[1] > MOST_PIXELS:
            raise ValueError(f"it says {frames} frames of {plane} pixels with {samples} samples")
        shape = (*((count,) if count > 1 else ()), *plane, *((samples,) if samples > 1 else ()))
        dtype, scaling = _dtype(image), None
        scale, offset = float(image.get("RescaleSlope", 1) or 1), float(image.get("RescaleIntercept", 0) or 0)
        if (scale, offset) != (1.0, 0.0):
            scaling = Scaling(np.dtype("f8").str, scale, offset)
        notes = []
        if image.PhotometricInterpretation == "MONOCHROME1":
            notes.append("low values are bright in it (MONOCHROME1), which is not applied")
        if "PerFrameFunctionalGroupsSequence" in image:
            notes.append("what it says of single frames, such as scales, is not applied")
        return Source(
            path=path,
            format="dicom",
            dataset=dataset or "",
            shape=shape,
            dtype=native(dtype) if scaling is None else scaling.dtype,
            components=int(samples > 1),
            boxwise=False,
            grid=_grid(image, count),
            storage=Storage(native(dtype), scaling=scaling),
            notes=tuple(notes),
        )


def read(source: Source, selection: Selection, out: Array, at: Selection) -> None:
    """Fill ``out[at]``. Local. Decodes the whole image, or its frame."""
    assert source.storage is not None
    frames = parse_picks(source.path, source.dataset).axes.get("T")
    with _opened(source.path) as _:
        index = None if frames is None or frames < 0 else frames
        values = pixel_array(source.path, index=index)
        if frames is not None and frames < 0:
            values = values[frames]
        if native(values.dtype) != source.storage.dtype:
            raise ValueError(f"its values are of dtype {values.dtype} instead of {source.storage.dtype}")
        scaling = source.storage.scaling
        out[at] = (values if scaling is None else scaling.applied(values)).reshape(source.shape)[selection]


def ordered(files: Sequence[str]) -> tuple[list[str], list[float] | None]:
    """Return files in the order of their planes in space, and their places along the normal; None: they do not tell."""
    places = []
    for file in files:
        with _opened(file, tags=_TAGS) as image:
            rows, position = image.get("ImageOrientationPatient"), image.get("ImagePositionPatient")
            if rows is None or position is None or len(rows) != 6 or len(position) != 3:
                return list(files), None
            normal = np.cross(np.array(rows[:3], "f8"), np.array(rows[3:], "f8"))
            places.append(float(normal @ np.array(position, "f8")))
    order = np.argsort(places, kind="stable")
    return [files[n] for n in order], [places[n] for n in order]


def _dtype(image: Any) -> np.dtype[Any]:
    bits = int(image.BitsAllocated)
    if bits not in (1, 8, 16, 32):
        raise ValueError(f"it says {bits} bits a value")
    return np.dtype(f"{'i' if image.PixelRepresentation else 'u'}{max(1, bits // 8)}")


def _grid(image: Any, count: int) -> dict[str, Any]:
    steps = image.get("PixelSpacing")
    if count > 1 or steps is None or len(steps) != 2:
        return {}
    return linear("yx", [float(steps[0]), float(steps[1])], [0.0, 0.0], "mm")


@contextmanager
def _opened(path: str, tags: list[str] | None = None) -> Iterator[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except MpibatchError:
        raise
    except Exception as error:  # pydicom meets a damaged file with any of a dozen types
        if "plugin" in str(error) or "missing dependencies" in str(error):
            raise UsageError(
                f"cannot read {path!r}: it is packed in a way that needs another package ({error}); install it, or "
                "write the image without compression"
            ) from error
        raise RunError(f"{path!r} cannot be read as DICOM ({error}); it is damaged or incomplete") from error
