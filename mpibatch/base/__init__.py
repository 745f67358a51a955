"""What every other part stands on, and what knows none of them: no MPI, no fields, no files of data."""
