"""Processes: how this one begins and ends, its threads, and those that it starts."""
