"""Codecs: pixels to codes and back."""
