"""Stands in for the service that the example about iris depends on and does not show."""

import orchestrator

__all__ = ["Preprocessing"]


@orchestrator.service
class Preprocessing:
    @orchestrator.api
    def trim(self, text: str) -> str:
        return text.strip()
