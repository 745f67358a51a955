"""Compiled copies between faces of short rows do what NumPy does."""

from __future__ import annotations

import numpy as np
import pytest

from mpibatch.halo.face_copies import copier


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "c16", "?"])
@pytest.mark.parametrize("width", [1, 2, 4, 7])
@pytest.mark.parametrize("how", ["forward", "reversed", "one", "rows reversed"])
@pytest.mark.parametrize("shape", [(30, 40, 20), (900, 20), (6, 5, 20)])
def test_faces_are_copied_as_numpy_copies(dtype: str, width: int, how: str, shape: tuple[int, ...]) -> None:
    found = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    expected = found.copy()
    copies = []
    for array in (found, expected):
        inside = array[1:-2]
        source = inside[..., 7 : 7 + width]
        source = {
            "forward": source,
            "reversed": source[..., ::-1],
            "one": source[..., :1],
            "rows reversed": source[::-1],
        }[how]
        copies.append((inside[..., :width], source))
    copier(copies[:1])()
    np.copyto(*copies[1])
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, np.arange(np.prod(shape)).reshape(shape).astype(dtype)) or dtype == "?"
