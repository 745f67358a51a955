"""Tomography: known bodies survive scan, reconstruction and labeling, to the bit as on one rank."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import transform

import mpibatch as mb
from mpibatch.apps.tomo.acquisition import Acquisition, measure
from mpibatch.apps.tomo.phantoms import phantom
from mpibatch.apps.tomo.pores import find_objects
from mpibatch.apps.tomo.scans import read_scan
from mpibatch.apps.tomo.volumes import Settings, margin_of, reconstruct, sinograms_of
from mpibatch.mpi import MPI, private

pytestmark = pytest.mark.mpi

SIDE, ANGLES, CENTER, PORES = 48, 60, 22.7, 3
HOW = Acquisition(angles=ANGLES, center=CENTER, counts=30_000)
SETTINGS = Settings(stripes=9, phase=20.0, energy=25.0, distance=0.001)


def results(path, comm, rows=slice(None)):
    """The volume of a scan and what is in it, whole; and the scan."""
    scan = read_scan(str(path), comm, rows=rows, margin=margin_of(SETTINGS))
    volume = reconstruct(scan, SETTINGS)
    objects = find_objects(volume.field, "pores", 0.5, 8)
    parts = {"volume": volume.field, "labels": objects.labels}
    whole = {name: mb.gather_all(u) for name, u in parts.items()} | objects.table.gather()
    return whole | {"center": np.array([volume.center]), "share": np.array([objects.share])}, scan


def test_a_known_body_comes_back(mpi_tmp_path):
    """Its bits are those of one rank, its slices scikit-image's; center, count and porosity are the body's."""
    path, own = mpi_tmp_path / "scan.h5", mpi_tmp_path / f"scan{MPI.COMM_WORLD.rank}.h5"
    for comm, file in ((private(), path), (MPI.COMM_SELF, own)):
        body = phantom((24, SIDE, SIDE), PORES, comm, seed=2).volume
        fields, units = measure(body, HOW, circle=True)
        mb.save(file, fields, dataset_attrs=units)
    assert path.read_bytes() == own.read_bytes()

    scans = []
    for rows in (slice(9, 11), slice(None)):  # of two rows some ranks have none
        whole, scan = results(path, private(), rows)
        scans.append(scan)
        expected, _ = results(path, MPI.COMM_SELF, rows)
        for name, values in expected.items():
            np.testing.assert_array_equal(whole[name].view("u1"), values.view("u1"), name)

    solid = body.owned > 0  # of one rank
    pores = ndimage.binary_fill_holes(solid) & ~solid
    assert ndimage.label(pores)[1] == PORES
    assert len(whole["label"]) == PORES
    assert abs(whole["center"] - CENTER) < 0.1
    assert whole["share"] == pytest.approx(np.count_nonzero(pores) / np.count_nonzero(pores | solid), rel=0.15)

    some, sinograms = (sinograms_of(each, SETTINGS, lambda step: None) for each in scans)
    np.testing.assert_array_equal(mb.gather_all(some).view("u4"), mb.gather_all(sinograms)[9:11].view("u4"))
    volume = mb.gather_all(mb.projections.iradon(sinograms, scan.angles, filter_name="hann"))
    for number, sinogram in enumerate(mb.gather_all(sinograms)[::8]):
        slice_of_peer = transform.iradon(sinogram, scan.angles, filter_name="hann")
        np.testing.assert_array_equal(volume[8 * number].view("u4"), slice_of_peer.view("u4"))
