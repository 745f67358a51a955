"""A stencil as an object: its parsed form, its footprint, and the call."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from mpibatch.base.compiled import thread_count
from mpibatch.base.errors import UsageError, nearest
from mpibatch.stencil.compiled.numba_source import kernel_text
from mpibatch.stencil.compiled.types import Array, Typed, assign_types, check_dtype
from mpibatch.stencil.language.footprint import Footprint, footprint_of, likely_ndim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mpibatch.stencil.language.ir import KernelProgram

__all__ = ["BACKENDS", "Kernel"]

BACKENDS = ("numba", "numpy")


class Kernel:
    """A stencil function, read once; made by `stencil`, and called with fields.

    ``kernel(u, v, k=0.1, out=None, walls="reflect", cval=0.0, time=0.0)`` takes fields and scalars as the function
    does, fills the halos that are read, and returns a new Field for each returned value (a tuple of them if the
    function returns one), or writes into `out`.

    Parameters
    ----------
    function : callable
        The user's, which computes one cell.
    program : mpibatch.stencil.language.ir.KernelProgram
        Its parsed form.
    components : mapping of str to tuple of str
        Names of components, by parameter.
    ndim : int or None
        Axes of the grids that the kernel is for; None: whatever grid it is called on, of 1 to 3 axes.
    threads : int or None
        Threads per rank; they share out planes, and bits do not depend on them. None: as many as ``$NUMBA_NUM_THREADS``
        says when the stencil is defined, else one.
    backend : str
        "numba", or "numpy" (slow; for tests).
    overlap : bool or str
        Whether to compute the inner cells while messages fly, where no corners are read: True, False, or "auto", which
        times both ways in the first twelve calls on a grid and keeps the faster one. Bits do not depend on it.

    Attributes
    ----------
    program, components, threads, backend, overlap
        As given; with `using` a kernel of other options is made.
    signature : inspect.Signature
        That of the function.

    Raises
    ------
    UsageError
        If an option is not valid.

    Notes
    -----
    Local; calling it is collective. The first call for certain types compiles, and keeps what it compiled on disk.

    - A new field has the halo of the first field, so that it can go in again. ``u = kernel(u)`` in a loop takes the
      memory of fields that are gone, and what was planned for it; see `mpibatch.fields.memory`.
    - `out` : a Field, or a tuple of them. It may be an input that is read at the cell itself only (as the step before
      the last of a leapfrog scheme is), and no other input. Only owned cells are written.
    - `walls` : see `mpibatch.stencil.walls`; `cval` is what "constant" means, `time` goes to wall functions.
    - A field whose halo is narrower than the reach is copied into wider memory in every call.
    - Only fields that are read off the cell are exchanged, as wide as they are read, without corners if no corner is
      read; at most two messages per decomposed axis and group of fields of one reach. Walls that need no cells of
      another rank and no user's function are filled plane by plane in the sweep, and only where they are read.
    - A field that can be written to is exchanged in every call. ``speed = speed.frozen()`` makes a copy that cannot: a
      medium, a mask. It is exchanged once, and again only for other walls or a wider reach; see `Field.frozen`.

    Examples
    --------
    >>> import mpibatch as mb
    >>> @mb.stencil
    ... def heat(u, k):
    ...     return u[0] + k * (u[-1] - 2.0 * u[0] + u[1])
    >>> heat
    <stencil heat(u, k)>
    >>> u = mb.Grid(6).from_function(lambda x: x * x, halo=1)
    >>> print(mb.gather_all(heat(u, k=0.25, walls="nearest")))
    [ 0.25  1.5   4.5   9.5  16.5  22.75]
    """

    def __init__(
        self,
        function: Callable[..., Any],
        program: KernelProgram,
        components: Mapping[str, tuple[str, ...]],
        ndim: int | None,
        threads: int | None,
        backend: str,
        overlap: bool | str,
    ) -> None:
        if backend not in BACKENDS:
            raise UsageError(f"backend {backend!r} is unknown{nearest(backend, BACKENDS)}")
        if overlap not in (True, False, "auto"):
            raise UsageError(f'overlap={overlap!r} is not valid; give True, False or "auto"')
        threads = thread_count() if threads is None else threads
        if threads < 1:
            raise UsageError(f"threads={threads} is not valid; give at least 1")
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

    @property
    def name(self) -> str:
        """The function's name, a str. Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def twice(u):
        ...     return 2.0 * u[0]
        >>> twice.name
        'twice'
        """
        return self.program.name

    @property
    def footprint(self) -> Footprint:
        """What is read, written and computed per cell, a `Footprint`; prints as a table. Local.

        It is that on a grid of `ndim` axes, if they were given, else of as many as the fewest indices in a read, 3 at
        most.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def heat(u, k):
        ...     return u[0] + k * (u[-1] - 2.0 * u[0] + u[1])
        >>> heat.footprint.reach, heat.footprint.flops
        (((1, 1),), 5)
        """
        return self.footprint_on(self._ndim or likely_ndim(self.program))

    def footprint_on(self, ndim: int) -> Footprint:
        """Return the footprint on a grid of so many axes; further indices are components.

        Parameters
        ----------
        ndim : int
            Axes of the grid.

        Returns
        -------
        Footprint
            What is read, written and computed per cell.

        Raises
        ------
        UsageError
            If a read has fewer indices.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def second(q):
        ...     return q[1, 0] - q[-1, 1]
        >>> second.footprint_on(1).fields["q"]
        FieldReach(reach=((1, 1),), reads=2, words=2, needs_corners=False)
        """
        if ndim not in self._footprints:
            self._footprints[ndim] = footprint_of(self.program, ndim)
        return self._footprints[ndim]

    def using(
        self, *, threads: int | None = None, backend: str | None = None, overlap: bool | str | None = None
    ) -> Kernel:
        """Return the same kernel with other options.

        Parameters
        ----------
        threads : int, optional
            Threads per rank. Default: as of this kernel.
        backend : str, optional
            "numba" or "numpy". Default: as of this kernel.
        overlap : bool or str, optional
            True, False or "auto". Default: as of this kernel.

        Returns
        -------
        Kernel
            A new one; what is not given is as here.

        Raises
        ------
        UsageError
            If an option is not valid.

        Notes
        -----
        Local. Bits do not depend on threads and overlap.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def twice(u):
        ...     return 2.0 * u[0]
        >>> slow = twice.using(backend="numpy", overlap=False)
        >>> print(slow.backend, mb.gather_all(slow(mb.Grid(2).full(3.0))))
        numpy [6. 6.]
        """
        return Kernel(
            function=self.__stencil__,
            program=self.program,
            components=self.components,
            ndim=self._ndim,
            threads=self.threads if threads is None else threads,
            backend=self.backend if backend is None else backend,
            overlap=self.overlap if overlap is None else overlap,
        )

    def typed(
        self,
        ndim: int,
        inputs: Sequence[Array],
        scalars: Mapping[str, str],
        outputs: Sequence[Array | None],
        in_place: Sequence[int] = (),
    ) -> Typed:
        """Return the kernel with a type for every number, for certain fields.

        Parameters
        ----------
        ndim : int
            Axes of the grid.
        inputs : sequence of mpibatch.stencil.compiled.types.Array
            Dtype and components of each field, in the order of ``program.fields``.
        scalars : mapping of str to str
            "int", "float" or "bool" for each scalar parameter.
        outputs : sequence of (mpibatch.stencil.compiled.types.Array or None)
            Dtype and components of each output, None where they follow from the inputs.
        in_place : sequence of int, default ()
            For each output the number of the input that is the same memory, -1 for none.

        Returns
        -------
        mpibatch.stencil.compiled.types.Typed
            What back ends carry out; the same one for the same arguments.

        Raises
        ------
        UsageError
            If the kernel cannot take these fields: their axes, their dtypes.

        Notes
        -----
        Local.

        Examples
        --------
        >>> import numpy as np
        >>> import mpibatch as mb
        >>> from mpibatch.stencil.compiled.types import Array
        >>> @mb.stencil
        ... def scaled(u, k):
        ...     return k * u[0]
        >>> scaled.typed(1, [Array(np.dtype("f4"))], {"k": "float"}, [None]).outputs[0].dtype.name
        'float32'
        """
        key = (ndim, tuple(inputs), tuple(scalars.items()), tuple(outputs), tuple(in_place))
        typed = self._typed.get(key)
        if typed is None:
            if self._ndim is not None and ndim != self._ndim:
                raise UsageError(f"stencil {self.name!r} is for {self._ndim} axes, and was called on a grid of {ndim}")
            if not 1 <= ndim <= 3:
                raise UsageError(f"stencil {self.name!r} was called on a grid of {ndim} axes; stencils have 1 to 3")
            for name, array in zip(self.program.fields, inputs, strict=True):
                check_dtype(name, array.dtype)
            self.footprint_on(ndim)
            typed = self._typed[key] = assign_types(self.program, ndim, inputs, scalars, outputs, in_place)
        return typed

    def generated(self, ndim: int, dtype: Any = "f8") -> str:
        """Return the text that numba compiles, for fields of one type without components.

        Parameters
        ----------
        ndim : int
            Axes of the grid.
        dtype : dtype_like, default "f8"
            Of all fields; scalars are floats.

        Returns
        -------
        str
            Python source.

        Raises
        ------
        UsageError
            If the kernel cannot take such fields.

        Notes
        -----
        Local. Nothing is compiled.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def twice(u):
        ...     return 2.0 * u[0]
        >>> "def " in twice.generated(1)
        True
        """
        arrays = [Array(np.dtype(dtype))] * len(self.program.fields)
        kinds = dict.fromkeys(self.program.scalars, "float")
        return kernel_text(self.typed(ndim, arrays, kinds, [None] * len(self.program.outputs)))

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Sweep over fields; see `Kernel`.

        Parameters
        ----------
        *args, **options
            Fields and numbers, as the function takes them, and the options `out`, `walls`, `cval` and `time`.

        Returns
        -------
        Field or tuple of Field
            A new field, or `out`, for each value that the function returns: a tuple if it returns one.

        Raises
        ------
        UsageError
            The same on every rank, when fields, scalars, `out` and walls do not fit the kernel, or when a constant or
            function that it uses has changed since it was defined.

        Notes
        -----
        Collective. At most two messages per decomposed axis and group of fields of one reach; none where no field is
        read off the cell. One pass through the owned cells.

        Examples
        --------
        >>> import mpibatch as mb
        >>> @mb.stencil
        ... def heat(u, k):
        ...     return u[0] + k * (u[-1] - 2.0 * u[0] + u[1])
        >>> u = mb.Grid(6).from_function(lambda x: x * x, halo=1)
        >>> w = heat(u, k=0.25, walls=[[("dirichlet", 0.0), ("neumann", 0.0)]], out=u.like())
        >>> print(mb.gather_all(w))
        [ 0.25  1.5   4.5   9.5  16.5  22.75]
        """
        # Late: what a call needs loads MPI, and a kernel can be read and looked at without.
        from mpibatch.stencil.call.evaluation import call

        return call(self, args, options)

    def __repr__(self) -> str:
        return f"<stencil {self.name}({', '.join(self.program.parameters)})>"
