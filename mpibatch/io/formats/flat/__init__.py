"""Formats whose values lie in one piece behind a header: bytes at known places are all that it takes to read them.

Headers are read here, by a few lines each that nothing in a file can crash or keep busy; values by `raw_values`.
"""
