"""Projections and reconstructions against scikit-image's of whole images: to the bit, on any decomposition."""

from __future__ import annotations

import itertools
import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage import data, transform

import mpibatch as mb
from mpibatch import projections
from mpibatch.mpi import MPI
from tests.support.segments import field, same_bits

pytestmark = pytest.mark.mpi

RANKS = MPI.COMM_WORLD.size
FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann", None)


def expected_radon(image: np.ndarray, *arguments: Any) -> np.ndarray:
    with warnings.catch_warnings(action="ignore"):
        return np.asarray(transform.radon(image, *arguments))


def test_radon_of_an_image() -> None:
    rng = np.random.default_rng(1)
    for shape, circle, theta in itertools.product(
        ((16, 16), (17, 23), (9, 8)), (True, False), (None, [0, 10.5, 90], [5])
    ):
        whole = rng.random(shape)
        u = field(whole, mb.Grid(shape))
        same_bits(projections.radon(u, theta, circle), expected_radon(whole, theta, circle))
    ours = projections.radon(u.astype("f4"), theta, circle)
    np.testing.assert_allclose(mb.gather_all(ours), expected_radon(whole.astype("f4"), theta, circle), rtol=1e-5)


def test_iradon_of_a_sinogram() -> None:
    rng = np.random.default_rng(2)
    for shape, circle, dtype in itertools.product(((16, 12), (17, 9), (65, 1)), (True, False), ("f8", "f4")):
        whole = rng.random(shape).astype(dtype)
        u = field(whole, mb.Grid(shape))
        for name in FILTERS:
            expected = transform.iradon(whole, filter_name=name, circle=circle)
            same_bits(projections.iradon(u, filter_name=name, circle=circle), expected)
        expected = transform.iradon(whole, output_size=31, circle=circle)
        same_bits(projections.iradon(u, output_size=31, circle=circle), expected)
        for way in ("nearest", "cubic"):
            expected = transform.iradon(whole, interpolation=way, circle=circle)
            same_bits(projections.iradon(u, interpolation=way, circle=circle), expected)


def test_the_phantom_of_scikit_images_tutorial() -> None:
    """Of 160 x 160 pixels and 160 angles; the error is that which the tutorial's code gives."""
    phantom = transform.rescale(data.shepp_logan_phantom(), 0.4, mode="reflect", channel_axis=None)
    theta = np.linspace(0.0, 180.0, 160, endpoint=False)
    u = field(phantom, mb.Grid(phantom.shape))
    back = projections.iradon(projections.radon(u, theta), theta, filter_name="ramp")
    assert math.sqrt(mb.mean((back - u) ** 2)) == pytest.approx(0.028274, abs=5e-7)


def test_stacks_slice_by_slice() -> None:
    stack = np.random.default_rng(3).random((5, 16, 16))
    for topology in itertools.product(range(1, RANKS + 1), repeat=3):
        if np.prod(topology) == RANKS:
            u = field(stack, mb.Grid(stack.shape, topology=topology))
            same_bits(projections.radon(u, [0, 30]), np.stack([expected_radon(image, [0, 30]) for image in stack]))
            same_bits(projections.iradon(u), np.stack([transform.iradon(image) for image in stack]))


def test_a_known_center_is_put_right() -> None:
    y, x = np.mgrid[:64, :64] - 32.0
    phantom = ((x - 5) ** 2 + (y + 8) ** 2 < 100) * 1.0
    sinogram = expected_radon(phantom)
    moved = ndimage.shift(sinogram, (3, 0), order=1)
    ours = mb.gather_all(projections.iradon(field(moved, mb.Grid(moved.shape)), center=35))
    assert np.abs(ours - transform.iradon(sinogram))[x**2 + y**2 < 400].max() < 1e-6


def test_project_along_an_axis_and_an_angle() -> None:
    whole = np.random.default_rng(4).integers(0, 50, (8, 7, 6)).astype("f8")
    u = field(whole, mb.Grid(whole.shape))
    for how in ("sum", "max", "mean", "min"):
        for axis in range(3):
            np.testing.assert_allclose(mb.gather_all(mb.project(u, axis, how=how)), getattr(np, how)(whole, axis))
    turned = ndimage.rotate(whole, 20, (0, 1), reshape=False, order=1)
    np.testing.assert_array_equal(mb.gather_all(mb.project(u, 0, 20, "max")), turned.max(0))


def test_project_rounds_once_at_any_angle() -> None:
    """Of values and angles that are not whole: each sum and mean is that of the turned cells, rounded once."""
    rng = np.random.default_rng(6)
    whole = rng.standard_normal((7, 6, 5)) * 10.0 ** rng.integers(-6, 6, (7, 6, 5))
    u = field(whole, mb.Grid(whole.shape))
    for axis, angle in ((0, 33.7), (1, -12.25), (2, 91.5)):
        beside = axis + 1 if axis < 2 else axis - 1
        turned = np.moveaxis(ndimage.rotate(whole, angle, (axis, beside), reshape=False, order=1), axis, -1)
        for how, of_line in (("sum", math.fsum), ("mean", lambda line: float(sum(map(Fraction, line)) / len(line)))):
            ours = mb.gather_all(mb.project(u, axis, angle, how))
            np.testing.assert_array_equal(ours, np.apply_along_axis(of_line, -1, turned))


WRONG = (
    (lambda u: projections.iradon(u, filter_name="rampp"), "rampp"),
    (lambda u: projections.iradon(u, [1, 2]), "2 angles for 4"),
    (lambda u: projections.iradon(u, output_size=0), "output_size"),
    (lambda u: projections.iradon(u, interpolation="quintic"), "quintic"),
    (lambda u: projections.iradon(mb.Grid((1, 2, 3)).zeros(), interpolation="cubic"), "too short"),
    (lambda u: projections.radon(u.astype("u1")), "preserve_range"),
    (lambda u: projections.radon(u, [np.nan]), "finite"),
    (lambda u: projections.radon(mb.Grid(4).zeros()), "1 axes"),
    (lambda u: mb.project(u, how="median"), "median"),
)


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_bad_input_is_one_error(call: Any, words: str) -> None:
    with pytest.raises(mb.UsageError, match=words):
        call(mb.Grid((5, 4)).zeros())
