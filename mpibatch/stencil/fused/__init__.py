"""Several steps of a kernel in one sweep through the cache."""
