"""CALL: a sans-I/O wire and thin transports."""

from orchestrator.client.sync import Client

__all__ = ["Client"]
