"""Morphology, binary and gray; in ``_morphology`` is which algorithm does it."""
