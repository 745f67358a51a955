"""Catalogs of astronomical frames, as SExtractor makes them, with the same bits on any number of ranks.

A frame is cut into blocks, one for each rank; whatever is known of a source comes from the same pixels, in the same
order, wherever the cuts are:

- `background`: blocks are cut between the nodes of the mesh, so that each node's pixels are on one rank; splines
  through nodes need whole lines of the mesh alone, which are few.
- `detection`: a matched filter (with halos), a threshold, and labels over all ranks.
- `members`: the pixels of objects that may go on in another block travel, once, to a rank that has them all, in raster
  order. There serial loops take blends apart and measure isophotes: `sources`.
- `photometry`: the rank of a source's first pixel measures it in circles and Kron's ellipse, and asks others for the
  pixels around it that are theirs.
- `catalogs`: the steps in their order, and the table; `outputs`: maps, regions for DS9, a picture; `frames`: a batch.

Method: E. Bertin, S. Arnouts 1996, doi:10.1051/aas:1996164; Kron's radius, doi:10.1086/190669. Start it with ``python
-m mpibatch.apps.catalog --help``.
"""
