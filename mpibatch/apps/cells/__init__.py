"""Cells and nuclei in microscope images, with the same bits on any number of ranks.

A slide of any size is cut into blocks, one for each rank; a cell that lies across cuts is still one cell. Or each rank
takes the next of many small fields of view. The steps are those of scripts with scipy and scikit-image, with the same
values:

- `images`: what is read, and that it is what it should be; one channel of several; labels of other programs.
- `illumination`: the image of an empty field, or the median of many, that images are divided by.
- `segmentation`: background, smoothing, thresholds, and cells that touch split by their distance to the background.
- `tables`: a row for each cell; those of all fields in one table.
- `fields`: a batch. `outputs`: labels, tables, a picture.

Thresholds: N. Otsu 1979, doi:10.1109/TSMC.1979.4310076; watershed: doi:10.1016/0165-1684(90)90127-K. Start it with
``python -m mpibatch.apps.cells --help``.
"""
