"""Jobs whose data exceed memory, slab by slab over all ranks.

``slab`` (grids of planes), ``ahead`` (what the system reads and writes meanwhile), ``between`` (files between passes),
``planes`` and ``chunks`` (the output), ``scans``, ``components`` and ``regions`` (what all slabs decide together),
``journal`` (to be resumed), ``work`` (a pass), ``stream`` (the run), ``call`` (from Python).
"""
