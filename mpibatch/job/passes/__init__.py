"""Passes over data in slabs, planned: ``traits`` of steps, ``schedule``, ``memory``, ``outlook``. Pure, no MPI."""
