"""From fields to one HDF5 file: layout, drivers, commit; and time series."""
