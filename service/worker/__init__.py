"""The worker process: claims jobs, steps them together, delivers pictures. Imports no FastAPI."""
