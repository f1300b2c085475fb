"""COMPILE: a spec becomes the files of a Triton model repository."""

from orchestrator.compiler.plan import RepositoryPlan, Target, plan_repository
from orchestrator.compiler.writer import check_repository, write_repository

__all__ = ["RepositoryPlan", "Target", "check_repository", "plan_repository", "write_repository"]
