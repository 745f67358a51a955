"""History: what was run, by whom, on which inputs, with which outputs; a chain of entries that shows every edit.

In order of dependency: ``chain`` (a file of lines, each with the digest of the one before), ``runs`` (what its entries
tell of each run) and ``entry`` (what a run tells of itself).
"""
