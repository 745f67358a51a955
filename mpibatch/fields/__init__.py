"""Arrays over ranks: a decomposition with communicator and geometry, and this rank's part of an array.

In dependency order: ``memory``, ``axes``, ``remedies`` (for what is no Field), ``operators``, ``field``, ``grid``,
``plans`` (kept with a grid), ``redistribution`` (scatter, gather, change of decomposition), ``pencils`` (grids that
leave an axis whole, or are of another shape), ``lines`` (whole lines, a piece at a time, and back), ``steps`` (two
axes at a time), ``parcels`` (cells of any ranks) and ``block_means`` (means of blocks).
"""
