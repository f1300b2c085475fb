"""The model store: versions by tag; a database knows them, a folder or a bucket has their files."""

from orchestrator.store.events import Event
from orchestrator.store.store import Store

__all__ = ["Event", "Store"]
