"""Tables into files: as comma-separated text, as Parquet, and as columns of an HDF5 file."""
