"""Files of other programs that hold values as they are: ``headers`` of FITS, NIfTI and npy, and their ``writer``."""
