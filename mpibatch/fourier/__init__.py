"""Fourier transforms of Fields, and what is computed by them.

In dependency order: ``_engine`` (passes along axes, and what they were given), ``fft`` (scipy.fft's names), and
``convolution`` and ``spectra``. All are collective. Importing this package loads none of them; names are found when
first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import nearest
from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.fourier import fft
    from mpibatch.fourier.convolution import fftconvolve
    from mpibatch.fourier.spectra import PowerSpectrum, power_spectrum

__all__ = ["PowerSpectrum", "fft", "fftconvolve", "power_spectrum"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(
        __name__,
        {"convolution": ("fftconvolve",), "spectra": ("PowerSpectrum", "power_spectrum")},
        modules=("fft",),
        explain=lambda name: nearest(name, __all__),
    )
