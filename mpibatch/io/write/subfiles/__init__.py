"""Subfiles: the values of one file in several, one for each node say, and one front file that shows them as one."""
