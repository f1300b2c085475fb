"""What happened to the versions of a model."""

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Event"]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a model's history.

    Attributes:
        at: UTC.
        kind: `saved`, `deleted`, `labelled`, `alias moved`, `alias rolled back`, `alias removed`, `imported`, `pulled`,
            `pushed`; others are recorded from outside (`deployed`, `rolled back`).
        name: of the model.
        version: that it happened to.
        detail: for people, such as `production: 1 -> 2`.
    """

    at: datetime
    kind: str
    name: str
    version: str
    detail: str = ""
