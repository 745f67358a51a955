"""What the calls of a kernel leave for its next ones; it goes with the kernel."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpibatch.base.tally import KernelWork
    from mpibatch.fields.grid import Grid
    from mpibatch.stencil.call.overlap import Trials
    from mpibatch.stencil.compiled.types import Typed
    from mpibatch.stencil.kernel import Kernel

__all__ = ["CallState", "state_of"]


@dataclass(slots=True)
class CallState:
    """Plans by memory, walls and what is kept; what calls are counted as, by types; trials of overlap, by grid."""

    plans: dict[Any, Any] = field(default_factory=dict)
    works: dict[Typed, KernelWork] = field(default_factory=dict)
    trials: weakref.WeakKeyDictionary[Grid, Trials] = field(default_factory=weakref.WeakKeyDictionary)


_states: weakref.WeakKeyDictionary[Kernel, CallState] = weakref.WeakKeyDictionary()


def state_of(kernel: Kernel) -> CallState:
    """Return what the calls of this kernel have left. Local."""
    state = _states.get(kernel)
    if state is None:
        state = _states[kernel] = CallState()
    return state
