"""Which versions of a model have served: what a rollback goes back to.

A stack. A deployment puts a version on top, a rollback takes the top one off: after deploying 1, 2, 3, two rollbacks lead to
1; then deploying 4 and one rollback lead to 1 again. What a rollback has left is reached by deploying it again.
"""

from datetime import datetime
from typing import Final

from orchestrator.spec.frozen import Frozen

__all__ = ["KEPT", "History", "Served"]

KEPT: Final = 5
"""Versions that stay on disk: the one that serves and those before it."""


class Served(Frozen):
    """One version that serves or did.

    Attributes:
        version: number of its folder.
        what: a stored model's tag, or where a service's code is from.
        config: text of the config.pbtxt that it is loaded with.
        since: when it began to serve, UTC.
        stored: name -> tag of the stored models that a service reads by itself.
        code: digest of a service's code and settings, but for `stored`.
    """

    version: int
    what: str
    config: str
    since: datetime
    stored: dict[str, str] = {}
    code: str = ""


class History(Frozen):
    """The versions of one Triton model.

    Attributes:
        served: the oldest first; the last one serves now.
        highest: number of any version so far. A service's next one is higher.
    """

    served: tuple[Served, ...] = ()
    highest: int = 0

    @property
    def now(self) -> Served:
        return self.served[-1]

    @property
    def before(self) -> Served | None:
        """What a rollback leads to."""
        return self.served[-2] if len(self.served) > 1 else None

    @property
    def kept(self) -> frozenset[int]:
        """Versions whose folders must stay."""
        return frozenset(each.version for each in self.served)

    def deployed(self, fresh: Served) -> "History":
        """With a version on top; what no longer belongs to the last five is forgotten."""
        served = (*self.served, fresh)
        kept: set[int] = set()
        for position in range(len(served) - 1, -1, -1):
            kept.add(served[position].version)
            if len(kept) > KEPT:
                served = served[position + 1 :]
                break
        return History(served=served, highest=max(self.highest, fresh.version))

    def back_to(self, position: int, *, since: datetime | None = None) -> "History":
        """With that entry of `served` on top.

        Args:
            since: when it begins to serve again.
        """
        *below, top = self.served[: position + 1]
        if since is not None:
            top = top.model_copy(update={"since": since})
        return self.model_copy(update={"served": (*below, top)})

    def settled(self, serving: Served) -> "History":
        """As it must be where the config on disk names that version: it may be one step ahead of it, or behind.

        Args:
            serving: what the disk says.
        """
        for position in range(len(self.served) - 1, -1, -1):
            if self.served[position].version == serving.version:
                return self.back_to(position)
        return self.deployed(serving)

    def position_before(self, stored: str) -> int | None:
        """The last entry with another version of a stored model; None where every one has the same."""
        now = self.now.stored.get(stored)
        for position in range(len(self.served) - 2, -1, -1):
            if self.served[position].stored.get(stored, now) != now:
                return position
        return None
