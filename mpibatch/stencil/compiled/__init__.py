"""A kernel's back ends: types, the text of numba functions and their running, and NumPy's."""
