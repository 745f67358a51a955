-- As mpibatch/0.1.0.lua, for an environment made by python -m venv $MPIBATCH_ROOT.
help([[Image filters and stencil simulations on arrays spread over MPI ranks: the same bits on any number of ranks]])
whatis("Name: mpibatch")
whatis("Version: 0.1.0")

local root = os.getenv("MPIBATCH_ROOT") or "/opt/mpibatch/0.1.0"
prepend_path("PATH", pathJoin(root, "bin"))
setenv("MPIBATCH_ROOT", root)
-- The MPI of this site, whose libmpi mpi4py finds at run time:
-- depends_on("mpich")
