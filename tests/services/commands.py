"""Services that are processes of their own."""

import os
import sys

import orchestrator

UPSTREAM = os.path.join(os.path.dirname(__file__), "upstream.py")


@orchestrator.service(cmd=["python", "upstream.py", "${PORT}"], envs=[{"name": "GREETING", "value": "hello"}])
class Upstream:
    """Named by its command alone."""


@orchestrator.service(http={"proxy_port": 28_431})
class ByMethod:
    def __init__(self) -> None:
        self.script = UPSTREAM

    def __command__(self) -> list[str]:
        return ["sh", "-c", f"{sys.executable} {self.script} 28431 & wait"]


@orchestrator.service(cmd=["sh", "-c", "echo it has no licence >&2; exit 7"])
class Ends:
    pass
