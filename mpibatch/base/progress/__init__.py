"""How far work is, for those who look: ``heartbeat`` for another process, ``rounds`` for a line of progress."""
