"""numba, made to start faster and to compile less: none of it is part of its interface, and all may be absent."""
