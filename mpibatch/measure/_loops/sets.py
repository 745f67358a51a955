"""Sets of places that are known to belong together: contracted on one rank, and hung on lesser ones by their owners."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpibatch.base.compiled import compiled

__all__ = ["contract", "follow", "hook"]

Array = Any
Int = Any


@compiled
def contract(pairs: Array, parent: Array) -> None:
    """Unite the sets of each pair of indices; afterwards `parent` holds the least index of each one's set. Local."""
    for p in range(pairs.shape[0]):
        a, b = pairs[p, 0], pairs[p, 1]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    for a in range(parent.shape[0]):
        parent[a] = parent[parent[a]]


@compiled
def index_of(places: Array, place: Int) -> Int:
    """Return where a place stands in the sorted ones, -1 if nowhere. Local."""
    low, high = 0, places.shape[0]
    while low < high:
        middle = (low + high) // 2
        if places[middle] < place:
            low = middle + 1
        else:
            high = middle
    return low if low < places.shape[0] and places[low] == place else -1


@compiled
def hook(places: Array, parent: Array, edges: Array, passed: Array) -> Int:
    """Hang places on lesser ones that they belong together with; return how many edges are passed on. Local.

    An edge is (a place, a lesser one). Its greater end is hung on the lesser, unless it hangs on one that is less
    still; of the two on which it might hang the greater belongs to the lesser: an edge again, between lesser ends.
    It ends on this rank, or is written to `passed` for the greater end's owner.
    """
    count = 0
    for e in range(edges.shape[0]):
        greater, lesser = edges[e, 0], edges[e, 1]
        while True:
            i = index_of(places, greater)
            if i < 0:
                passed[count, 0] = greater
                passed[count, 1] = lesser
                count += 1
                break
            old = parent[i]
            if lesser < old:
                parent[i] = lesser
            if old in (greater, lesser):
                break
            greater, lesser = max(old, lesser), min(old, lesser)
    return count


@compiled
def follow(places: Array, parent: Array) -> Int:
    """Hang every place on the least that is known on this rank to be its set's; return how many hang elsewhere. Local.

    In ascending order, so that what a place hangs on has been followed before.
    """
    away = np.int64(0)
    for i in range(places.shape[0]):
        j = index_of(places, parent[i])
        if j >= 0:
            parent[i] = parent[j]
            j = index_of(places, parent[i])
        if j < 0:
            away += 1
    return away
