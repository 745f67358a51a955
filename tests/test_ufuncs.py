"""The promise of equal bits rests on NumPy computing a cell alike wherever it stands in an array: held here."""

from __future__ import annotations

import numpy as np
import pytest

UNARY = ["sqrt", "exp", "log", "sin", "cos", "tan", "tanh", "arctan", "exp2", "log10", "cbrt", "square", "reciprocal"]
BINARY = ["add", "multiply", "divide", "power", "hypot", "arctan2", "fmod", "maximum"]


@np.errstate(over="ignore")
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", UNARY + BINARY)
def test_a_cell_s_bits_do_not_depend_on_length_stride_or_alignment(name: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    function = getattr(np, name)
    wholes = [np.exp(rng.uniform(-6, 6, 2050)).astype(dtype) for _ in range(function.nin)]
    whole = function(*wholes)
    for _ in range(200):
        low, length = int(rng.integers(0, 2000)), int(rng.integers(1, 50))
        cut = slice(low, low + length)
        strided = [np.repeat(w[cut, None], 3, axis=1)[:, 1] for w in wholes]
        shifted = [np.concatenate([w[:1], w[cut]])[1:] for w in wholes]
        for parts in ([w[cut] for w in wholes], strided, shifted):
            assert function(*parts).tobytes() == whole[cut].tobytes()
