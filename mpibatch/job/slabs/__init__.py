"""Jobs whose data exceed memory, slab by slab over all ranks.

``slab`` (grids of planes), ``page_cache`` (what the system reads and writes meanwhile), ``intermediates`` (what
waits between passes), ``planes`` and ``chunks`` (the output), ``scans``, ``components`` and ``regions`` (what all slabs
decide together), ``journal`` (to be resumed), ``work`` (a pass), ``stream`` (the run), ``call`` (from Python).
"""
