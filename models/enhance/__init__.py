"""Finer codes over finished ones, and finer pixels of both."""
