"""Scenes made of the emoji art: where things stand, what is behind them, the words for it."""
