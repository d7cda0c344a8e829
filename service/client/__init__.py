"""The Python client of the service, and load made with it."""

from service.client.client import ApiError, AsyncClient, Client, Partial

__all__ = ["ApiError", "AsyncClient", "Client", "Partial"]
