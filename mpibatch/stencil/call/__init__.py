"""A kernel's call: arguments, walls, plan, exchange and sweep."""
