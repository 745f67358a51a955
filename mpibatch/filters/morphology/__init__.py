"""Morphology, binary and grey; in ``_morphology`` is which algorithm does it."""
