"""Digests of values and hashes of all other bytes, behind a file's end; and looking whether they still hold."""
