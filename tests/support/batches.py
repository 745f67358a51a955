"""The job that tests of batches run for each of their items."""

__all__ = ["STEPS"]

STEPS = """
[input]
path = "{item}"

[[step]]
filter = "binarize"
threshold = "otsu"
save = "mask"

[output]
"""
