"""Arrays that lie in pieces, which their libraries find and unpack: chunks, tiles, a file for each plane.

A library is imported when a file of its format is read, and not before; the extra `formats` has them all.
"""
