"""Vaults: HDF5 files whose every byte is encrypted where it lies; their keys, and the reading and writing of them."""
