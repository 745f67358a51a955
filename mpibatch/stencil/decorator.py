"""The decorator that makes a kernel of a function of one cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from mpibatch.stencil.kernel import Kernel
from mpibatch.stencil.language.parser import parse

__all__ = ["stencil"]

Components = Mapping[str, Sequence[str]]


@overload
def stencil(function: Callable[..., Any], /) -> Kernel: ...


@overload
def stencil(
    *,
    components: Components | None = None,
    ndim: int | None = None,
    threads: int | None = None,
    backend: str = "numba",
    overlap: bool | str = "auto",
) -> Callable[[Callable[..., Any]], Kernel]: ...


def stencil(
    function: Callable[..., Any] | None = None,
    /,
    *,
    components: Components | None = None,
    ndim: int | None = None,
    threads: int | None = None,
    backend: str = "numba",
    overlap: bool | str = "auto",
) -> Any:
    """Make a kernel of a function that computes one cell; see `mpibatch.stencil` for the language.

    Parameters
    ----------
    function : callable, optional
        It reads fields with relative indices, and returns the new value, a list of components, or a tuple of outputs.
        Left out, a decorator with the options is returned.
    components : mapping of str to sequence of str, optional
        Names of the components of fields, such as ``{"q": ("rho", "mx", "my", "E")}``, read as ``q.rho[0, 0]``.
    ndim : int, optional
        Axes of the grids that the kernel is for. Default: whatever grid it is called on, of 1 to 3 axes.
    threads : int, optional
        Threads per rank. Default: ``$NUMBA_NUM_THREADS`` when the stencil is defined, else one.
    backend : str, default "numba"
        "numba", or "numpy" (slow; for tests).
    overlap : bool or str, default "auto"
        Whether inner cells are computed while messages fly, see `Kernel`.

    Returns
    -------
    Kernel or callable
        The kernel, or a decorator that makes one.

    Raises
    ------
    UsageError
        With file, line and caret, for what is not part of the language; for options that are not valid.

    Notes
    -----
    Local. The function's text is read, and never called; nothing is compiled before the first call of the kernel.

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil(components={"q": ("mass", "momentum")})
    ... def velocity(q):
    ...     return q.momentum[0] / q.mass[0]
    >>> q = mb.Grid(3).full((2.0, 1.0), components=(2,))
    >>> print(mb.gather_all(velocity(q)))
    [0.5 0.5 0.5]
    """
    names = {name: tuple(parts) for name, parts in (components or {}).items()}

    def make(function: Callable[..., Any]) -> Kernel:
        return Kernel(
            function=function,
            program=parse(function, names),
            components=names,
            ndim=ndim,
            threads=threads,
            backend=backend,
            overlap=overlap,
        )

    return make if function is None else make(function)
