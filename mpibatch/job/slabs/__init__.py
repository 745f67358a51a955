"""Jobs whose data exceed memory, slab by slab over all ranks.

``slab`` (grids of planes), ``between`` (files between passes), ``planes`` (the output), ``scans``, ``components`` and
``regions`` (what all slabs decide together), ``journal`` (to be resumed), ``work`` (a pass), ``stream`` (the run),
``call`` (from Python).
"""
