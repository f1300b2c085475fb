"""A process that deploys without a pause, on a repository that outlives it: `python -m tests.e2e.deploy_loop REPOSITORY CODE`."""

import asyncio
import itertools
import os
import sys
from pathlib import Path

from orchestrator.compiler import Target, plan_repository, write_repository
from orchestrator.deployment import Deployer, ServiceCode, Serving, prepare_repository
from orchestrator.models.stores import default_store
from orchestrator.sdk import Definition, load_service
from orchestrator.sdk.native import Resolved, models_of
from orchestrator.spec import Tag
from orchestrator.triton import Control, TritonServer
from orchestrator.worker.snapshot import take_snapshot


async def deploy(definition: Definition, repository: Path, folder: Path, grpc_url: str) -> None:
    async with Control(grpc_url) as control:
        for model in ("number", "Teller"):
            await control.load_model(model)

    def resolve(attribute: str, tag: Tag) -> Resolved:
        return models_of(definition.cls)[attribute].resolve("Teller", attribute, tag)

    deployer = Deployer(
        Serving(repository, definition.spec), connect=lambda: Control(grpc_url), store=default_store, resolve=resolve
    )
    print("begun", flush=True)
    for number in itertools.count(2):
        await deployer.deploy_model(Tag.of(f"number:{number % 3 + 1}"), lambda _: None)
        (folder / "helper.py").write_text(f"VERSION = {number}")
        await deployer.deploy_code(ServiceCode(definition.spec, folder, take_snapshot(folder)), lambda _: None)
        if number % 3 == 0:
            await deployer.roll_back("number", lambda _: None)
            await deployer.roll_back("Teller", lambda _: None)


def main(repository: Path, folder: Path) -> None:
    definition = load_service("service:Teller", folder)
    if not repository.exists():
        plan = plan_repository(
            definition.spec, target=Target.EMBEDDED, service_path=str(folder), models=definition.models
        )
        write_repository(plan, repository)
        prepare_repository(repository, definition.spec, folder)
    with TritonServer() as server:
        server.start([repository], env=dict(os.environ))
        asyncio.run(deploy(definition, repository, folder, server.grpc_url))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
