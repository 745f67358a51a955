"""A stencil as an object: its parsed form, its footprint, and the call."""

from __future__ import annotations

import functools
import inspect
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np

from mpibatch.base.errors import UsageError, nearest
from mpibatch.stencil.compiled.numba_source import kernel_text
from mpibatch.stencil.compiled.types import Array, Typed, assign_types, check_dtype
from mpibatch.stencil.language.footprint import Footprint, footprint_of, likely_ndim
from mpibatch.stencil.language.ir import Program
from mpibatch.stencil.language.parser import parse

__all__ = ["BACKENDS", "Kernel", "stencil"]

BACKENDS = ("numba", "numpy")
Components = Mapping[str, Sequence[str]]


class Kernel:
    """A stencil function, read once. Calling it is collective.

    ``kernel(u, v, k=0.1, out=None, walls="reflect", cval=0.0, time=0.0)`` takes fields and scalars as the function
    does, fills the halos that are read, and returns a new Field for each returned value (a tuple of them if the
    function returns one), or writes into `out`.

    - A new field has the halo of the first field, so that it can go in again. ``u = kernel(u)`` in a loop takes the
      memory of fields that are gone, and what was planned for it; see `mpibatch.fields.memory`.
    - `out` : a Field, or a tuple of them. It may be an input that is read at the cell itself only (as the step
      before the last of a leapfrog scheme is), and no other input. Only owned cells are written.
    - `walls` : see `mpibatch.stencil.walls`; `cval` is what "constant" means, `time` goes to wall functions.
    - A field whose halo is narrower than the reach is copied into wider memory in every call.
    - Only fields that are read off the cell are exchanged, as wide as they are read, without corners if no corner
      is read; at most two messages per decomposed axis and group of fields of one reach. Walls that need no cells
      of another rank and no user's function are filled plane by plane in the sweep, and only where they are read.
    - A field that can be written to is exchanged in every call. ``speed = speed.frozen()`` makes a copy that cannot: a
      medium, a mask. It is exchanged once, and again only for other walls or a wider reach; see `Field.frozen`.

    Raises UsageError, the same on every rank, when fields, scalars, `out` and walls do not fit the kernel.

    Attributes
    ----------
    program : the parsed form.
    components : names of components, by parameter.
    threads : threads per rank; they share out planes, and bits do not depend on them. None: as many as
        ``$NUMBA_NUM_THREADS`` says when the stencil is defined, else one.
    backend : "numba", or "numpy" (slow; for tests).
    overlap : compute the inner cells while messages fly, where no corners are read: True, False, or "auto", which
        times both ways in the first twelve calls on a grid and keeps the faster one. Bits do not depend on it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        program: Program,
        components: Mapping[str, tuple[str, ...]],
        ndim: int | None,
        threads: int | None,
        backend: str,
        overlap: bool | str,
    ) -> None:
        if backend not in BACKENDS:
            raise UsageError(f"backend {backend!r} was asked for{nearest(backend, BACKENDS)}")
        if overlap not in (True, False, "auto"):
            raise UsageError(f'overlap={overlap!r} was asked for; give True, False or "auto"')
        threads = _threads_here() if threads is None else threads
        if threads < 1:
            raise UsageError(f"threads={threads} was asked for; give at least 1")
        self.program = program
        self.components = components
        self.threads = threads
        self.backend = backend
        self.overlap = overlap
        self._ndim = ndim
        # By these a stencil is inlined into another.
        self.__stencil__ = function
        self.__stencil_components__ = components
        functools.update_wrapper(self, function)
        self.signature = inspect.signature(function)
        self._typed: dict[Any, Typed] = {}
        self._footprints: dict[int, Footprint] = {}
        # Plans bound to fields' memory, kept by mpibatch.stencil.call.bind.
        self._plans: dict[Any, Any] = {}
        # What its calls are counted as, by types; kept by the same.
        self._works: dict[Typed, Any] = {}
        # Times with and without overlap, by grid, kept by the same.
        self._trials: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    @property
    def name(self) -> str:
        """The function's name. Local."""
        return self.program.name

    @property
    def footprint(self) -> Footprint:
        """What is read, written and computed per cell; prints as a table. Local."""
        return self.footprint_on(self._ndim or likely_ndim(self.program))

    def footprint_on(self, ndim: int) -> Footprint:
        """Return the footprint on a grid of `ndim` axes; further indices are components. Local."""
        if ndim not in self._footprints:
            self._footprints[ndim] = footprint_of(self.program, ndim)
        return self._footprints[ndim]

    def using(
        self, *, threads: int | None = None, backend: str | None = None, overlap: bool | str | None = None
    ) -> Kernel:
        """Return the same kernel with other options. Local."""
        return Kernel(
            self.__stencil__,
            self.program,
            self.components,
            self._ndim,
            self.threads if threads is None else threads,
            self.backend if backend is None else backend,
            self.overlap if overlap is None else overlap,
        )

    def typed(
        self,
        ndim: int,
        inputs: Sequence[Array],
        scalars: Mapping[str, str],
        wanted: Sequence[Array | None],
        in_place: Sequence[int] = (),
    ) -> Typed:
        """Return the kernel with a type for every number, for certain fields; see `typed.assign_types`. Local."""
        key = (ndim, tuple(inputs), tuple(scalars.items()), tuple(wanted), tuple(in_place))
        found = self._typed.get(key)
        if found is None:
            if self._ndim is not None and ndim != self._ndim:
                raise UsageError(f"stencil {self.name!r} is for {self._ndim} axes, and was called on a grid of {ndim}")
            if not 1 <= ndim <= 3:
                raise UsageError(f"stencil {self.name!r} was called on a grid of {ndim} axes; stencils have 1 to 3")
            for name, array in zip(self.program.fields, inputs, strict=True):
                check_dtype(name, array.dtype)
            self.footprint_on(ndim)
            found = self._typed[key] = assign_types(self.program, ndim, inputs, scalars, wanted, in_place)
        return found

    def generated(self, ndim: int, dtype: Any = "f8") -> str:
        """Return the text that numba compiles, for fields of one type without components. Local."""
        arrays = [Array(np.dtype(dtype))] * len(self.program.fields)
        kinds = dict.fromkeys(self.program.scalars, "float")
        return kernel_text(self.typed(ndim, arrays, kinds, [None] * len(self.program.outputs)))

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Sweep over fields; see `Kernel`. Collective."""
        # Late: what a call needs loads MPI, and a kernel can be read and looked at without.
        from mpibatch.stencil.call.bind import call

        return call(self, args, options)

    def __repr__(self) -> str:
        return f"<stencil {self.name}({', '.join(self.program.parameters)})>"


def _threads_here() -> int:
    """As many threads as the user, or a batch script, wants for each rank."""
    said = os.environ.get("NUMBA_NUM_THREADS", "1")
    if not said.isdecimal() or not int(said):
        raise UsageError(f"NUMBA_NUM_THREADS={said} was given as threads of each rank; give a whole number, 1 or more")
    return int(said)


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
    """Make a kernel of a function that computes one cell; see `mpibatch.stencil` for the language. Local.

    Parameters
    ----------
    components : names of the components of fields, such as ``{"q": ("rho", "mx", "my", "E")}``, read as
        ``q.rho[0, 0]``.
    ndim : axes of the grids that the kernel is for; default: whatever grid it is called on.
    threads, backend, overlap : see `Kernel`.

    Raises UsageError, with file, line and caret, for what is not part of the language.
    """
    names = {name: tuple(parts) for name, parts in (components or {}).items()}

    def make(function: Callable[..., Any]) -> Kernel:
        return Kernel(function, parse(function, names), names, ndim, threads, backend, overlap)

    return make if function is None else make(function)
