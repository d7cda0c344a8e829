"""The Python client of the service, and load made with it."""

from service.client.async_client import AsyncClient
from service.client.client import Client
from service.client.protocol import ApiError, Partial

__all__ = ["ApiError", "AsyncClient", "Client", "Partial"]
