"""The models. Empty on purpose: `models.presets` must be importable without torch."""
