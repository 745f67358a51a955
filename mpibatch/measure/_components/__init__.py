"""Connected components over ranks: ``rim``, what touches; ``merging``; ``numbering``; ``components``, all of it."""
