"""Services that call each other in every way that there is, for `orchestrator explain`."""

import orchestrator


@orchestrator.service
class Words:
    @orchestrator.api
    def count(self, text: str) -> int:
        return len(text.split())


@orchestrator.service
class Cleaner:
    words = orchestrator.depends(Words)

    @orchestrator.api
    async def clean(self, text: str) -> str:
        return f"{text.strip()} {await self.words.to_async.count(text)}"


@orchestrator.service
class Speller:
    cleaner = orchestrator.depends(Cleaner)
    words = orchestrator.depends(Words)

    @orchestrator.api
    async def spell(self, text: str) -> str:
        return await self.cleaner.to_async.clean(text)


@orchestrator.service
class Reader:
    """All of it on the front-end, but for the leaf."""

    speller = orchestrator.depends(Speller)
    cleaner = orchestrator.depends(Cleaner)
    far = orchestrator.depends(url="http://spelling.example:3000")

    @orchestrator.api
    async def read(self, text: str) -> str:
        return await self.speller.to_async.spell(text)


@orchestrator.service
class Printer:
    """It has a sync API, so that all of it is in Triton."""

    cleaner = orchestrator.depends(Cleaner)

    @orchestrator.api
    def print(self, text: str) -> str:
        return str(self.cleaner.to_sync.clean(text))
