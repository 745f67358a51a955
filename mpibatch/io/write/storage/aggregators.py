"""How many ranks collect what lies scattered in a file, to write it in large pieces: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PER_NODE", "Aggregators", "aggregators"]

# ROMIO's default, one a node, spends its time copying. The other numbers follow from what the file systems' own manuals
# say of sharing a file.
PER_NODE = 4
# An NFS server sees one file from many clients as so many that wait for one another.
MOST_ON_NFS = 8


@dataclass(frozen=True, slots=True)
class Aggregators:
    """So many of all ranks, at most `per_node` on each node."""

    total: int
    per_node: int

    @property
    def hints(self) -> dict[str, str]:
        """Their hints, which ROMIO knows and others ignore. Local."""
        return {"cb_config_list": f"*:{self.per_node}", "cb_nodes": str(self.total)}


def aggregators(nodes: int, ranks: int, kind: str, stripes: int = 0) -> Aggregators:
    """Return how many aggregators write to a file system of this kind. Local.

    `stripes`: over how many servers of Lustre the file lies; 0 or -1: not known. Each of these should have one
    aggregator. Where there are more of them, no aggregator has more than it must; then fewer aggregators, whose shares
    are more even, are as fast.
    """
    total = nodes * PER_NODE
    if kind.startswith("nfs"):
        total = min(nodes, MOST_ON_NFS)
    elif kind == "lustre" and stripes > 0:
        most = -(-stripes // min(total, stripes))  # servers of an aggregator
        total = -(-stripes // most)
    total = max(1, min(total, ranks))
    return Aggregators(total, -(-total // nodes))
