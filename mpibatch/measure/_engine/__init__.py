"""What labelling and tables of regions have in common: structures, global places, rims, and merging over ranks."""
