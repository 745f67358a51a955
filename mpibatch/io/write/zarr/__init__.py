"""Zarr stores of fields: ``metadata``, ``codecs`` of chunks and shards, the ``store`` and its ``folder``."""
