"""Tomography: from the projections of a scan to a volume and a table of its pores, with the same bits on any ranks.

A rank first has whole projections, then, after one redistribution, whole sinograms:

- `scans`: projections, flats, darks and angles of NXtomo, DXchange or stacks of TIFF; each rank reads its own.
- `transmissions`: counts over flats, less darks; outliers, to which zingers belong, replaced by medians; -log.
- `stripes`: what one detector has too much or too little at all angles, taken out by sorting.
- `phases`: Paganin's filter, for scans taken at a distance.
- `centers`: where the axis of rotation is projected on.
- `volumes`: the settings, the steps in their order, and filtered back-projection, slice by slice.
- `pores`: Otsu's threshold, labels, and the table of pores or grains.
- `sheets`: a slice at many centers, side by side.
- `phantoms`, `acquisition`: scans of known bodies, with counts, flats, darks, stripes, zingers and a shifted axis.

Equations: transmission T = (counts - dark) / (flat - dark), absorption p = -log T = ∫ μ dl along each ray, and μ from
all p by filtered back-projection (A. C. Kak, M. Slaney, doi:10.1137/1.9780898719277), in 1 / pixel. Start it with
``python -m mpibatch.apps.tomo --help``.
"""
