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


SPECIAL = {
    "b": [0, 1],
    "i": [0, 1, -1, 2, -2, 3, 7, -7, 100, -100, 127, -128],
    "u": [0, 1, 2, 3, 7, 100, 127, 128, 255],
    "f": [0.0, -0.0, 1.0, -1.0, 0.5, -1.5, 3.0, np.inf, -np.inf, np.nan, 1e-40, 6e4, 2.0, 7.0, -7.0],
    "c": [0, 1 + 1j, -1j, np.inf, np.nan, 1 - 2j, complex(np.nan, np.inf), -0.0, complex(0, -0.0), 3 + 0.5j],
}
DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
CELL_BY_CELL = sorted(
    name for name in dir(np) if isinstance(getattr(np, name), np.ufunc) and getattr(np, name).signature is None
)


@np.errstate(all="ignore")
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_ufunc_tells_a_vector_s_body_from_its_tail(dtype: str) -> None:
    """With NaN, infinities, zeros of both signs and the ends of integers; the sign and payload of NaN are left open."""
    rng, kind = np.random.default_rng(1), np.dtype(dtype).kind
    pool = np.array(SPECIAL[kind], "i8" if kind in "iu" else None).astype(dtype)
    for name in CELL_BY_CELL:
        function = getattr(np, name)
        arguments = [pool[rng.integers(0, len(pool), 160)] for _ in range(function.nin)]
        try:
            single = [function(*(a[n : n + 1] for a in arguments)) for n in range(160)]
        except (TypeError, ValueError):
            continue  # not for this dtype, or not for these values
        columns = list(zip(*single, strict=True)) if function.nout > 1 else [single]
        expected = [np.concatenate(column) for column in columns]
        for first in range(0, 17, 2):
            for length in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 130):
                cut = slice(first, first + length)
                for parts in ([a[cut] for a in arguments], [np.repeat(a[cut], 2)[::2] for a in arguments]):
                    got = function(*parts)
                    for values, known in zip(got if function.nout > 1 else [got], expected, strict=True):
                        assert normal(values) == normal(known[cut]), (name, first, length)


def normal(values: np.ndarray) -> bytes:
    if values.dtype.kind in "fc":
        values = np.where(np.isnan(values), np.nan, values)
    return np.ascontiguousarray(values).tobytes()
