"""Runs on one batch, stepped together. Knows no Redis."""
