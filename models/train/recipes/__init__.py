"""One training recipe a family."""
