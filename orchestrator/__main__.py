"""`python -m orchestrator`."""

from orchestrator.cli.main import run

run()
