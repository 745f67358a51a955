"""Arrays over ranks: a decomposition with communicator and geometry, and this rank's part of an array.

In dependency order: ``memory``, ``axes``, ``remedies`` (for what is no Field), ``operators``, ``field``, ``grid``,
``redistribution`` (scatter, gather, change of decomposition), ``pencils`` (lines of cells along an axis that may be
cut).
"""
