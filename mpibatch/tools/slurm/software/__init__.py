"""The software on a job's nodes: an environment as one archive, or a container image that borrows the host's MPI."""
