"""OME-TIFF files of fields: what stands around the values (``pages``), and their ``writer``."""
