"""Codes to pixels, scores and files."""
