"""Linear equations on the whole grid, solved directly: Poisson's and Helmholtz's.

Waves along each axis diagonalize the Laplacian; an axis with uneven cells is left to tridiagonal systems, one for each
line. In dependency order: ``_loops`` (compiled), ``operators`` (the Laplacian along an axis, and its eigenvalues),
``modes`` (there and back by transforms), ``columns`` (tridiagonal lines), ``residuals`` and ``equations``. All are
collective. Importing this package loads none of them; names are found when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpibatch.base.errors import nearest
from mpibatch.base.lazy_names import attach

if TYPE_CHECKING:
    from mpibatch.solve.equations import helmholtz, poisson

__all__ = ["helmholtz", "poisson"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = attach(
        __name__, {"equations": ("helmholtz", "poisson")}, explain=lambda name: nearest(name, __all__)
    )
