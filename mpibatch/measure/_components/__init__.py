"""Connected components over ranks: ``rim``, what touches; ``unions``; ``numbering``; ``components``, all of it."""
