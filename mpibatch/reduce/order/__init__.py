"""Elements by their order: ``keys`` that compare as values do, ``selection``, and ``interpolation`` between two."""
