"""Addresses as people and proxies write them, checked and in one form. Knows no setting's name."""
