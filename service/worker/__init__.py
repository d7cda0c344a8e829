"""The worker process: claims jobs, steps them together, delivers pictures. Imports no FastAPI."""

from service.settings import bound_spinning

bound_spinning()  # before any module below loads torch, which is when OpenMP looks
