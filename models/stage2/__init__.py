"""Priors: what draws the codes, and the parts that they are made of."""
