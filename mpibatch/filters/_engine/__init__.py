"""What all filters stand on: their arguments, windows, memory, and one pass over a block and its surroundings."""
