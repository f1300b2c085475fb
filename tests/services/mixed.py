"""A batchable API beside one that is not, and one without arguments."""

import orchestrator


@orchestrator.service(name="mixed-1.0")
class Mixed:
    @orchestrator.api(batchable=True, max_batch_size=4)
    def upper(self, words: list[str]) -> list[str]:
        return [word.upper() for word in words]

    @orchestrator.api
    def count(self, text: str) -> int:
        return len(text.split())

    @orchestrator.api
    def version(self) -> str:
        return "1.0"
