"""A supervisor: one process beside the ranks of a node that sees when none of them goes on, and says where each is.

It has a clock of its own and needs nothing of its ranks but that they live: their heartbeats are in memory that it
shares, their stacks are written by faulthandler, in C, upon a signal, even of a rank that is inside a library. It knows
its ranks by their connections, signals no other process, and ends with the last of them.

The modules, in order of dependency: ``settings`` (what both sides know), ``stacks`` (which line each rank is at, and
whether it waits there), ``page`` (ranks by where they are, in words), ``nodes`` (what those of other nodes know),
``rank``, ``watch`` (its loop). The ranks' side is `mpibatch.mpi.supervision`.
"""
