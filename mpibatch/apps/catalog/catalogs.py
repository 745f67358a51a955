"""From a frame to its catalog: what is set, the steps in their order, and the table of sources."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import mpibatch as mb
from mpibatch.apps.catalog.background import Background
from mpibatch.apps.catalog.detection import Detection, detect
from mpibatch.apps.catalog.kernels import kernel_of
from mpibatch.apps.catalog.photometry import aperture_fluxes, kron_fluxes, windowed
from mpibatch.apps.catalog.sources import Sources, extract
from mpibatch.io.write.tables.region_table import RegionTable
from mpibatch.mpi import agreed
from mpibatch.mpi.routes import forward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpibatch.fields.field import Field

__all__ = ["Catalog", "Settings", "make_catalog"]

LEADING = ("number", "x", "y")  # columns
FLOATS = ("x", "y", "a", "b", "theta", "flux", "fluxerr", "peak")


@dataclass(frozen=True)
class Settings:
    """What a catalog depends on, beside its frame; names and values are sep's where it has them."""

    mesh: int = 64  # pixels of a node of the background, along both axes
    window: int = 3  # nodes, along both axes, of which the median is taken
    noise: str = "global"
    kernel: str = "default"
    threshold: float = 1.5  # times the noise
    area: int = 5  # pixels of an object, at least, before it is taken apart
    deblend_steps: int = 32
    contrast: float = 0.005
    clean: float = 0.0  # the power with which the wings of sources fall, in which others are none; 0: all are kept
    apertures: tuple[float, ...] = (3.0, 5.0)
    gain: float = 0.0  # electrons per unit; 0: none is known, and errors are without the sources' own

    def __post_init__(self) -> None:
        for name, value, is_right, words in self._checks():
            if not is_right:
                raise mb.UsageError(f"--{name} {value} {words}")

    def _checks(self) -> Iterator[tuple[str, Any, bool, str]]:
        whole = {"mesh": self.mesh, "window": self.window, "area": self.area, "deblend-steps": self.deblend_steps}
        for name, value in whole.items():
            yield name, value, value >= 1, "is not valid; give a whole number, 1 or more"
        yield "window", self.window, self.window % 2 == 1, "has no node in its middle; give an odd number"
        yield "noise", self.noise, self.noise in ("global", "local"), "is unknown; give global or local"
        words = "would take the background for sources; give a number above 0, as 1.5"
        yield "threshold", self.threshold, 0 < self.threshold < math.inf, words
        words = "is no share of a flux; give 0 to 1 (1: no deblending)"
        yield "contrast", self.contrast, 0 <= self.contrast <= 1, words
        words = "is no power with which wings fall; give 0.1 to 10, as 1, or 0 to keep all sources"
        yield "clean", self.clean, self.clean == 0 or 0.1 <= self.clean <= 10, words
        for radius in self.apertures:
            yield "apertures", radius, 0 < radius < math.inf, "is no radius; give numbers of pixels above 0"
        words = "is not valid; give electrons per unit, or 0 if it is not known"
        yield "gain", self.gain, 0 <= self.gain < math.inf, words


@dataclass(frozen=True)
class Catalog:
    """What was made of a frame.

    Attributes
    ----------
    background : Background
    value : Field
        The frame less its background.
    segments : Field
        The numbers of sources, 0 between them.
    table : RegionTable
        A row for each source, by number.
    """

    background: Background
    value: Field
    segments: Field
    table: RegionTable


def make_catalog(frame: Field, settings: Settings) -> Catalog:
    """Return the catalog of a frame of two axes. Collective."""
    grid = frame.grid
    with agreed(grid.comm, "checking the frame of a catalog"):
        if grid.ndim != 2 or frame.components or frame.dtype.kind not in "iuf":
            raise mb.UsageError(
                f"a frame of shape {frame.shape} and dtype {frame.dtype} has no catalog; give one image of two axes, "
                "of integers or floats (FILE.fits::EXTENSION)"
            )
        kernel = kernel_of(settings.kernel)
        if kernel is not None and any(n > m for n, m in zip(kernel.shape, grid.shape, strict=True)):
            raise mb.UsageError(
                f"the kernel {settings.kernel} of {kernel.shape[0]} × {kernel.shape[1]} pixels is larger than the "
                f"frame of {grid.shape[0]} × {grid.shape[1]}; give a smaller one"
            )
    background = Background(frame, (settings.mesh,) * 2, (settings.window,) * 2)
    if not background.noise > 0:
        raise mb.RunError(
            "the frame has a noise of 0 everywhere, so that no threshold follows from it; give a frame as it was "
            "taken, not one whose background was set to a constant"
        )
    detection = detect(background.frame, background, kernel, settings.threshold, is_local=settings.noise == "local")
    sources, segments = extract(
        detection, settings.area, settings.deblend_steps, settings.contrast, settings.gain, settings.clean
    )
    return Catalog(background, detection.value, segments, _table(detection, sources, background, settings))


def _table(detection: Detection, sources: Sources, background: Background, settings: Settings) -> RegionTable:
    """Measure what is around sources, and share the rows out by number. Collective."""
    grid = detection.labels.grid
    circles = aperture_fluxes(detection, sources, settings.apertures, settings.gain)
    radius, kron = kron_fluxes(detection, sources, settings.gain)
    half, center = windowed(detection, sources, kron[:, 0])
    floats = {name: sources[name] for name in FLOATS}
    for n, _ in enumerate(settings.apertures):
        floats |= {f"flux_aper_{n}": circles[:, n, 0], f"fluxerr_aper_{n}": circles[:, n, 1]}
    floats |= {"kron_radius": radius, "flux_auto": kron[:, 0], "fluxerr_auto": kron[:, 1]}
    floats |= {"flux_radius": half, "xwin": center[:, 0], "ywin": center[:, 1]}
    _, npix, top, flag = sources.whole.T
    ypeak, xpeak = np.divmod(top, grid.shape[1])
    whole = {"number": sources.number, "npix": npix, "xpeak": xpeak, "ypeak": ypeak, "flag": flag}
    rows = np.column_stack([*whole.values(), np.column_stack(list(floats.values())).view(np.int64)])
    rows = forward(grid.comm, (sources.number - 1) * grid.size // max(sources.count, 1), rows)
    rows = rows[np.argsort(rows[:, 0])]
    values = rows[:, len(whole) :].copy().view(np.float64)
    columns: dict[str, Any] = dict(zip(whole, rows[:, : len(whole)].T.copy(), strict=True))
    columns |= dict(zip(floats, values.T.copy(), strict=True))
    attrs: dict[str, Any] = {
        "background": background.level,
        "noise": background.noise,
        "threshold": detection.threshold,
    }
    attrs |= {"apertures": list(settings.apertures), "kernel": settings.kernel}
    return RegionTable(grid.comm, {name: columns[name] for name in [*LEADING, *columns]}, attrs)
