"""Checkpoint folders and files: which layouts there are, read, checked, converted."""
