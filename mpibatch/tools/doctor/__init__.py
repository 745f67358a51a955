"""The doctor: is this machine, and this way of starting ranks, fit for mpibatch? Each finding says what to type next.

The libraries examined here may be broken, so that none of them is imported by the process that reports: it starts
`probe_process`, on every rank, which imports them, starts MPI and makes the tests that need all ranks, and tells
through a pipe what it is about to do. If it crashes or hangs, the report says during what.

In order of dependency: ``finding``; the room ``checks``; and

- ``probe_process``, ``supervisor``: the process that may die, and the one that watches it
- ``leftovers``: what killed runs have left, to be told or removed
- ``checkup``, ``report``: all of it in order; as text and as JSON
"""
