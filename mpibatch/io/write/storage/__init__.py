"""How files lie on their file system, and how ranks get there: striping, and the hints of MPI-IO."""
