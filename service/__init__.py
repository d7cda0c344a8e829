"""minDALL-E Serve: prompts in by HTTP, PNGs out. This file holds the version and nothing else."""

__version__ = "0.1.0"
