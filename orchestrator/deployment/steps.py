"""The steps of a deployment, as data for those who watch."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Literal

from orchestrator.spec.frozen import Frozen

__all__ = ["Changed", "ModelStatus", "Report", "ServerStatus", "Step", "StepDone"]


class Step(StrEnum):
    """What happens to one Triton model, in this order.

    Until `load` has come to its end nothing has changed for anybody; until then the version before takes every request,
    and from then on the new one does.
    """

    STAGE = "stage"
    """The version's files are written beside their place, then renamed into it."""
    LOAD = "load"
    """Triton loads it beside the old one; its worker warms up and proves itself. Then Triton turns to it."""
    CONFIGURE = "configure"
    """config.pbtxt names it, so that a Triton that starts again serves the same."""
    CONFIRM = "confirm"
    """Triton's index says that it is ready, also after anything else that may have been loaded meanwhile."""
    DRAIN = "drain"
    """Calls that the old version has taken come to their end; then it is unloaded."""
    PRUNE = "prune"
    """Folders of versions that no rollback leads to are removed."""


class StepDone(Frozen):
    """One step has come to its end.

    Attributes:
        model: the Triton model.
        version: its new one.
        seconds: that the step took.
        note: what a person should know.
    """

    kind: Literal["step"] = "step"
    model: str
    version: int
    step: Step
    seconds: float
    note: str = ""


class Changed(Frozen):
    """A model that serves another version now.

    Attributes:
        model: the Triton model.
        version: that serves now.
        what: it is.
        before: the version that served before; the same where nothing had to be done.
        before_what: it was.
        drained: calls of the old version had ended by the time at which this was said.
    """

    kind: Literal["changed"] = "changed"
    model: str
    version: int
    what: str
    before: int
    before_what: str
    drained: bool = True
    notes: tuple[str, ...] = ()


class ModelStatus(Frozen):
    """One Triton model of a server.

    Attributes:
        model: its name.
        stored: names of the stored models that it is, or reads.
        version: that serves.
        what: it is.
        since: it serves, UTC.
        before: what a rollback leads to; None where nothing served before.
        states: version -> Triton's word for its state: of what is loaded, or comes or goes, or has failed to.
    """

    model: str
    stored: tuple[str, ...]
    version: int
    what: str
    since: datetime
    before: str | None
    states: dict[str, str]


class ServerStatus(Frozen):
    """One server.

    Attributes:
        url: of its front-end; where there may be several that we do not know, of its Tritons.
        pid: of its command; None where it is on other machines.
        service: that it was started with.
        others: names of the services that this one reaches and that are served with it.
        reloads: it takes new code by itself, and is not to be deployed to.
    """

    url: str
    pid: int | None
    service: str
    others: tuple[str, ...] = ()
    reloads: bool = False
    models: tuple[ModelStatus, ...]

    @property
    def versioned(self) -> frozenset[str]:
        """Names of the Triton models."""
        return frozenset(model.model for model in self.models)

    @property
    def names(self) -> frozenset[str]:
        """All names that a deployment or a rollback may give."""
        own = [self.service, *self.others, *self.versioned]
        return frozenset(own).union(*(model.stored for model in self.models))


Report = Callable[[StepDone], None]
