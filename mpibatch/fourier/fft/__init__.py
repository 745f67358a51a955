"""Fourier, cosine and sine transforms of Fields: scipy.fft's names, parameters and bits, on any decomposition.

Each line of an axis is transformed whole on one rank by scipy.fft. Spectra keep the communicator, the geometry and the
cut of the field that they are of, so that the way back ends on its grid; frequencies are those of `fftfreq`. Importing
this package loads none of its functions; names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import nearest
from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.fourier.fft.complex_transforms import fft, fft2, fftn, ifft, ifft2, ifftn
    from mpibatch.fourier.fft.cosines import dct, dctn, idct, idctn
    from mpibatch.fourier.fft.frequencies import fftfreq, next_fast_len, rfftfreq
    from mpibatch.fourier.fft.real_transforms import irfft, irfft2, irfftn, rfft, rfft2, rfftn
    from mpibatch.fourier.fft.shifts import fftshift, ifftshift
    from mpibatch.fourier.fft.sines import dst, dstn, idst, idstn

__all__ = [
    "dct",
    "dctn",
    "dst",
    "dstn",
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "idct",
    "idctn",
    "idst",
    "idstn",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "irfft",
    "irfft2",
    "irfftn",
    "next_fast_len",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(
        __name__,
        {
            "complex_transforms": ("fft", "fft2", "fftn", "ifft", "ifft2", "ifftn"),
            "cosines": ("dct", "dctn", "idct", "idctn"),
            "frequencies": ("fftfreq", "next_fast_len", "rfftfreq"),
            "real_transforms": ("irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftn"),
            "shifts": ("fftshift", "ifftshift"),
            "sines": ("dst", "dstn", "idst", "idstn"),
        },
        explain=lambda name: nearest(name, __all__),
    )
