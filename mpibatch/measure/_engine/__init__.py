"""What labeling and tables of regions have in common: structures, global places, and sums of labels."""
