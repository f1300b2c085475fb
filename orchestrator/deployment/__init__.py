"""A new version on a running server: put it on disk, load it beside the old one, let it prove itself, flip; and back."""

from orchestrator.deployment.code import ServiceCode, prepare_repository
from orchestrator.deployment.deployer import Deployer
from orchestrator.deployment.lock import alone_in
from orchestrator.deployment.repository import keep_code, pin, serving_in, versions_in
from orchestrator.deployment.serving import Serving, check_placement
from orchestrator.deployment.steps import Changed, ModelStatus, Report, ServerStatus, Step, StepDone

__all__ = [
    "Changed",
    "Deployer",
    "ModelStatus",
    "Report",
    "ServerStatus",
    "ServiceCode",
    "Serving",
    "Step",
    "StepDone",
    "alone_in",
    "check_placement",
    "keep_code",
    "pin",
    "prepare_repository",
    "serving_in",
    "versions_in",
]
