"""A new version on a running server: put it on disk, load it beside the old one, let it prove itself, flip; and back."""

from orchestrator.deployment.code import ServiceCode, prepare_repository
from orchestrator.deployment.deployer import Deployer
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
    "check_placement",
    "prepare_repository",
]
