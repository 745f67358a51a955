"""Compiled text that fills cells outside the domain, on the way of a sweep: no pass over memory of their own.

``put`` makes a rectangle of cells from another one, as walls have it. ``edge`` is called before each plane of a
sweep, and carries out the jobs of that plane.
"""

from __future__ import annotations

__all__ = ["EDGE", "KINDS", "PUT"]

# What cells outside the domain hold, made of a cell inside.
KINDS = {"copy": 1, "constant": 2, "dirichlet": 3, "signed": 4, "neumann": 5}

PUT = """\
@njit(error_model="numpy", _nrt=False)
def put(b, t, s, row, rows, cells, w, kind, v, v0):
    if kind == 1 and cells * w == 1:
        for j in range(rows):
            b[U8(t + j * row)] = b[U8(s + j * row)]
    elif kind == 1:
        for j in range(rows):
            for i in range(cells * w):
                b[U8(t + j * row + i)] = b[U8(s + j * row + i)]
    else:
        for j in range(rows):
            for i in range(cells * w):
                x = b[U8(s + j * row + i)]
                y = v[U8(v0 + i % w)]
                if kind == 2:
                    x = y
                elif kind == 3:
                    x = y - x
                elif kind == 4:
                    x = x * y
                else:
                    x = x + y
                b[U8(t + j * row + i)] = x
"""

# A job's row in the table: the planes during which it is done, from the first to before the end; words from one plane
# to the next; words from the array's begin, with plane 0, to what is filled and to what it is made of; words from row
# to row; rows; cells; kind; place of the value.
EDGE = """\
@njit(error_model="numpy", _nrt=False)
def edge(b, w, k, jobs, v):
    for q in range(jobs.shape[0]):
        if jobs[q, 0] <= k and k < jobs[q, 1]:
            d = k * jobs[q, 2]
            t, s = d + jobs[q, 3], d + jobs[q, 4]
            if jobs[q, 8] == 1 and jobs[q, 6] * jobs[q, 7] * w == 1:
                b[U8(t)] = b[U8(s)]
            else:
                put(b, t, s, jobs[q, 5], jobs[q, 6], jobs[q, 7], w, jobs[q, 8], v, jobs[q, 9])
"""
