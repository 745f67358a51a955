"""Tomography of a real volume, the brain that nilearn ships: counted as a detector would, and made again."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import mpibatch as mb
from mpibatch.apps.tomo.__main__ import main
from tests.support.packaged import packaged


def test_a_brain_comes_back_from_its_scan(tmp_path, monkeypatch, capsys) -> None:
    """From counts with noise, dust and zingers, flats, darks, and an axis off the middle: center and tissue."""
    (path,) = packaged("nilearn", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    monkeypatch.chdir(tmp_path)
    brain = np.ascontiguousarray(mb.gather_all(mb.load(path))[30:150:8, ::3, ::3].astype("f4"))
    mb.save("brain.h5", brain=mb.scatter(brain, mb.Grid(brain.shape)))
    made = "make-scan scan.h5 --volume brain.h5 --angles 180 --center 49.4 --counts 50000"
    assert main(made.split()) == 0
    with h5py.File("scan.h5") as file:
        assert {file["exchange"][name].dtype.str for name in ("data", "data_white", "data_dark")} == {"<u2"}
    again = "reconstruct scan.h5 volume.h5 --stripes 11 --smooth 1"
    assert main(again.split()) == 0
    with h5py.File("volume.h5") as file:
        volume, center = file["volume"][...], file.attrs["center"]
    assert center == pytest.approx(49.4, abs=0.1)
    # The axis is in the middle of both.
    cut = [slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(volume.shape[1:], brain.shape[1:], strict=True)]
    ours, theirs = volume[:, cut[0], cut[1]], brain
    slope, rest = np.polyfit(theirs.ravel(), ours.ravel(), 1)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97
    assert abs(rest) < 0.02 * slope * brain.max()  # what is empty is 0, as far as smoothing goes
