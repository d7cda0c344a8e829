"""A checkpoint against recorded numbers."""
