"""What is imported when it is first used: the public names of a package, and libraries that few need.

A package says which of its modules has which names, and repeats them as imports under ``TYPE_CHECKING``, so that type
checkers and editors know what they are; tests/test_lazy.py holds the two equal::

    if TYPE_CHECKING:
        from mpibatch.reduce.totals import mean, sum
    else:
        __getattr__, __dir__ = attach(__name__, {"totals": ("mean", "sum")})
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["attach", "scipy_module"]


def attach(
    package: str,
    names: Mapping[str, Sequence[str]],
    modules: Sequence[str] = (),
    explain: Callable[[str], str] = lambda _name: "",
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose names are imported when first used. Local.

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    names : mapping of str to sequence of str
        For each module, relative to the package, the names that it has.
    modules : sequence of str, optional
        Modules of the package that are public names themselves.
    explain : callable, optional
        Takes a name that there is not, and returns what is added to the error.
    """
    homes = {name: home for home, group in names.items() for name in group}

    def find(name: str) -> Any:
        if name in homes:
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        elif name in modules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            message = f"module {package!r} has no attribute {name!r}{explain(name)}"
            raise AttributeError(message, name=name, obj=sys.modules[package])
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *modules})

    return find, list_names


def scipy_module(name: str) -> Any:
    """Return a module of SciPy, such as "fft". Local. Raises UsageError if SciPy is not installed."""
    try:
        return importlib.import_module(f"scipy.{name}")
    except ImportError as error:
        from mpibatch.base.errors import UsageError

        raise UsageError(
            f"scipy.{name} is needed for this, and SciPy is not installed; type: pip install 'mpibatch[fft]'"
        ) from error
