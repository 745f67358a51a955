"""Libraries that few need, loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

from mpibatch.base.errors import UsageError

__all__ = ["scipy_module"]


def scipy_module(name: str) -> Any:
    """Return a module of SciPy, such as "fft". Local. Raises UsageError if SciPy is not installed."""
    try:
        return importlib.import_module(f"scipy.{name}")
    except ImportError as error:
        raise UsageError(
            f"scipy.{name} is needed for this, and SciPy is not installed; type: pip install 'mpibatch[fft]'"
        ) from error
