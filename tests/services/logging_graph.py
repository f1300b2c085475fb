"""Two services that write to the log in every way."""

import logging
import warnings

import orchestrator

logging.basicConfig(level=logging.INFO, format="theirs %(message)s")
logger = logging.getLogger("their.own")


@orchestrator.service
class Leaf:
    @orchestrator.api
    def talk(self, text: str) -> str:
        logger.info("the leaf heard %s", text)
        print(f"printed {text}")
        return text

    @orchestrator.api
    def fail(self) -> str:
        warnings.warn("it will fail", stacklevel=1)
        raise ValueError("in the leaf")


@orchestrator.service(logging={"access": {"enabled": True}})
class Root:
    leaf = orchestrator.depends(Leaf)

    @orchestrator.api
    async def talk(self, text: str) -> str:
        logger.info("the root heard %s", text)
        return str(await self.leaf.to_async.talk(text))

    @orchestrator.api
    async def fail(self) -> str:
        return str(await self.leaf.to_async.fail())
