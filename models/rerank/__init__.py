"""Scores that say which candidates to keep."""
