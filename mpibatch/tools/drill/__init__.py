"""Drills: what a user's own machine does when ranks are killed, hang or are slow, disks are full and bits flip.

In order of dependency: ``launch`` (the words that start ranks), ``kills`` and ``batches`` (runs that are killed and
taken up again), ``hangs`` (jobs that hang), ``losses`` (a full disk, flipped bits, a slow rank), ``damages`` (encrypted
files that are changed) and ``verdicts`` (all of them, one line each).
"""
