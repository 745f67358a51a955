"""Complete programs, each one file to copy and change, with a job file beside it.

A program has a docstring (the first line is its title), a dataclass ``Parameters`` with what a job may set (see
`mpibatch.simulate.parameters`), and ``run(parameters, simulation)``, which builds a grid and fields and steps through
``simulation.steps(...)``. It is started in any of these ways::

    mpiexec -n 4 python -m mpibatch.apps.heat --set simulation.until=2
    mpiexec -n 4 mpibatch run heat.toml          # [simulation] program = "heat"
    mpiexec -n 4 python my_heat.py               # a copy, with my_heat.toml beside it

``tomo``, ``cells``, ``kmers``, ``risk`` and ``catalog`` are folders, with command lines of their own in place of job
files: ``python -m mpibatch.apps.risk --help``.

Programs of one file use the package as any user does, by its public names, and do not know one another. Folders also
use what is inside it, such as routes between ranks and exact sums: a copy of one goes with the version that it was
taken from.
"""
