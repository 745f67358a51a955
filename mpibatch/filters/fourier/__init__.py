"""Filters of spectra: a factor for each frequency, as scipy.ndimage's fourier filters have them."""
