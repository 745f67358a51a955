"""Files that hold values as they are, FITS, NIfTI and npy: ``headers``, ``fits_tables``, and their ``writer``."""
