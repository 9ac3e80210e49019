"""``zoo explain``: which parts of a face speak for "fake", and which for "real"."""
