"""Checks of a service that runs in Triton, and what its calls may take."""

import time

import orchestrator


@orchestrator.service(traffic={"timeout": 1})
class Checked:
    def __init__(self) -> None:
        self.up = True

    @orchestrator.api
    def sink(self) -> None:
        self.up = False

    @orchestrator.api
    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    @orchestrator.api
    def refuse(self, what: str) -> str:
        raise Conflict(f"{what} is taken")

    async def __is_ready__(self) -> bool:
        return self.up

    def __metrics__(self, text: str) -> str:
        return text + "# HELP checked_up Up.\n"


class Conflict(orchestrator.errors.RequestFailed):
    status = 409
