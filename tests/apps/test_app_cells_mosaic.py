"""Cells of mosaics of flipped copies: none is lost or cut where the copies meet."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

import mpibatch as mb
from mpibatch.apps.cells.segmentation import Settings, segmented
from tests.support.nuclei import field_of_view, flipped_copies, segmented_by_scikit_image
from tests.support.packaged import packaged


def labels_of(array):
    return segmented(mb.scatter(np.ascontiguousarray(array), mb.Grid(array.shape)), Settings())[0].owned


def check_copies(mosaic, single, count):
    """Nothing of a copy is lost; only what meets its mirror image grows; the rest are as many cells, of their areas."""
    copies = flipped_copies(single > 0, count)
    assert mosaic[copies].all()
    objects, _ = ndimage.label(mosaic > 0)
    height, width = single.shape
    edges = (objects[height - 1 :: height], objects[::height], objects[:, width - 1 :: width], objects[:, ::width])
    grown = np.unique(objects[(mosaic > 0) & ~copies])
    assert np.isin(grown, np.concatenate([edge.ravel() for edge in edges])).all()

    objects, _ = ndimage.label(single > 0)
    edge = np.unique(np.concatenate([objects[[0, -1]].ravel(), objects[:, [0, -1]].ravel()]))
    within = (objects > 0) & ~np.isin(objects, edge)
    areas, of_mosaic = np.bincount(single[within])[1:], np.bincount(mosaic[flipped_copies(within, count)])[1:]
    areas = areas[areas > 0]
    assert len(areas) > 5
    np.testing.assert_array_equal(np.sort(of_mosaic[of_mosaic > 0]), np.repeat(np.sort(areas), count**2))


def test_a_mosaic_of_flipped_copies_has_their_cells():
    """Each object within a copy is in all four, in as many cells; those at its edge go on in the next copy."""
    array = field_of_view((110, 120), 30, seed=3)
    check_copies(labels_of(flipped_copies(array, 2)), labels_of(array), 2)


def test_a_mosaic_of_photographed_nuclei():
    """64 copies of StarDist's image as one of 4096 x 4096: the labels of scripts, to the last pixel."""
    (path,) = packaged("stardist", "images/img2d.tif")
    array = mb.gather_all(mb.load(path))
    mosaic = flipped_copies(array, 8)
    labels = labels_of(mosaic)
    np.testing.assert_array_equal(labels, segmented_by_scikit_image(mosaic)[1])
    assert labels.max() == 7632
    check_copies(labels, labels_of(array), 8)
