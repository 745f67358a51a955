"""Networks: one range of ports for all that a job opens, as settings of each library and as rules of a firewall.

In order of dependency: ``ports`` (the range, and what follows from it), ``sockets`` (those that processes have) and
``rules`` (those that are in force).
"""
