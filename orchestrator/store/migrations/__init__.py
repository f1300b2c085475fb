"""How the store's tables came to be what they are; run by `orchestrator.store.database`."""
