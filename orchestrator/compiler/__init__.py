"""COMPILE: a spec becomes the files of a Triton model repository."""

from orchestrator.compiler.native import plan_model
from orchestrator.compiler.plan import plan_graph, plan_repository
from orchestrator.compiler.repository import RepositoryPlan, Target
from orchestrator.compiler.writer import check_repository, write_repository

__all__ = [
    "RepositoryPlan",
    "Target",
    "check_repository",
    "plan_graph",
    "plan_model",
    "plan_repository",
    "write_repository",
]
