"""Whose checkpoint it is: everything that changes a run's result, as a table of values that JSON can hold.

Ranks, decompositions, paths and cadences of checkpoints are none of it. What may change a result, but often is changed
on purpose between two starts (the version, the text of a program), has a name in `MILD`, and is only warned of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["MILD", "Identity", "differences", "fingerprint", "plain"]

Identity = Mapping[str, Any]

MILD = ("mpibatch", "program text")
MOST = 5  # differences that are told


def plain(identity: Identity) -> dict[str, Any]:
    """Return the table as JSON gives it back, so that it can be compared. Local."""
    values: dict[str, Any] = json.loads(json.dumps(dict(identity), default=str))
    return values


def fingerprint(identity: Identity) -> str:
    """Return a digest of the table. Local."""
    return hashlib.sha256(json.dumps(plain(identity), sort_keys=True).encode()).hexdigest()


def differences(then: Identity, now: Identity, mild: bool = False) -> str:
    """Return, as words, in which values two tables differ; "" for none. Local. `mild`: among `MILD`, or the others."""
    before, after = plain(then), plain(now)
    names = [name for name in {**before, **after} if (name in MILD) == mild]
    changed = [name for name in names if before.get(name) != after.get(name)]
    texts = [f"{name} was {_shown(before, name)} and is {_shown(after, name)}" for name in changed[:MOST]]
    return ", ".join(texts) + (f", and {len(changed) - MOST} more" if len(changed) > MOST else "")


def _shown(values: Mapping[str, Any], name: str) -> str:
    text = json.dumps(values[name], ensure_ascii=False) if name in values else "not given"
    return text if len(text) <= 60 else f"{text[:57]}..."
