"""Passes over data in slabs, planned: ``traits`` of steps, the ``schedule``, ``memory``. Pure, no MPI."""
