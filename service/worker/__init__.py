"""The worker process: claims jobs, steps them together, delivers pictures. Imports no FastAPI."""

import models  # noqa: F401  before torch, which looks once how OpenMP is to spin
