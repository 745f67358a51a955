"""From files to fields, to lazy arrays, and to what a file holds."""
