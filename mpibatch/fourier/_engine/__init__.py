"""What transforms share: SciPy behind one door, what they were given, passes along axes, and chains of them."""
