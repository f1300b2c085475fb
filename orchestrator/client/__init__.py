"""CALL: a sans-I/O wire and thin transports."""

from orchestrator.client.asynchronous import AsyncHTTPClient
from orchestrator.client.sync import Client, SyncHTTPClient

__all__ = ["AsyncHTTPClient", "Client", "SyncHTTPClient"]
