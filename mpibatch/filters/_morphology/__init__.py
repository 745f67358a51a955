"""Which algorithm a dilation or erosion takes: flat or with heights, of numbers or of truth values."""
