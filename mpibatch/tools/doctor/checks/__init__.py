"""What the doctor looks at, each with its findings.

- ``versions``: comparing them; ``machine``, ``folders``, ``slurm``, ``variables``: what can be read without MPI
- ``launchers``: which mpiexec is found, and whether it starts one world
- ``libraries``, ``faults``: which MPI and HDF5 were loaded, and what is known against them
- ``placement``: what ranks say of themselves, compared: hosts, cores, binding, software
- ``storage``: reading, writing and locking by all ranks
"""
