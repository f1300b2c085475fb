"""One API that can be called without arguments."""

import orchestrator


@orchestrator.service
class Greeter:
    @orchestrator.api
    def greet(self, name: str = "world") -> str:
        """Greets.

        Args:
            name: of whom.
        """
        return f"Hello, {name}"
