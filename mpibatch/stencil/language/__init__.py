"""Reading a kernel: its text becomes a list of operations, and the footprint of what it reads."""
