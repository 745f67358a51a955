"""Job files: their schema, their checks, and the line that stands for one. Needs no MPI."""
