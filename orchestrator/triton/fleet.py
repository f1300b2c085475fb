"""Several Tritons that read one model repository, as one: a model is loaded on all of them or on none."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from orchestrator.errors import DeploymentError, ServerProcessError
from orchestrator.triton.addresses import resolved
from orchestrator.triton.control import Control, ModelState

__all__ = ["Fleet"]

_LOOK_S: Final = 2.0
_SILENT: Final = 3
"""Times that a machine says nothing, one after the other, after which a load on it is given up."""


class Fleet:
    """The machines that addresses stand for. Belongs to the event loop that it is entered in.

    Args:
        addresses: `host:port` each; a name may stand for several machines.
        on_disk: gives a model's config as the disk has it, as JSON.
        skip_silent: goes on without machines that do not answer.
        connect: makes the connection to one: (`host:port`).

    Attributes:
        silent: addresses that were left out.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        on_disk: Callable[[str], str],
        *,
        skip_silent: bool = False,
        connect: Callable[[str], Control] = Control,
    ) -> None:
        self._addresses = addresses
        self._on_disk = on_disk
        self._skip_silent = skip_silent
        self._connect = connect
        self._members: dict[str, Control] = {}
        self.silent: tuple[str, ...] = ()

    @property
    def machines(self) -> tuple[str, ...]:
        """Addresses of the machines that belong to it."""
        return tuple(self._members)

    async def __aenter__(self) -> Self:
        """Raises: DeploymentError where a machine does not answer, or none does."""
        nobody = [address for address in self._addresses if not await resolved([address])]
        self.silent = tuple(nobody + await self._join())
        if self.silent and not (self._skip_silent and self._members):
            await self._close()
            raise DeploymentError(
                f"no Triton answers at {', '.join(f'grpc://{address}' for address in self.silent)}",
                hint="all of them are to serve the same; --skip-silent goes on with those that answer",
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._close()

    async def load_model(self, name: str, config_json: str | None = None) -> None:
        """Loads a model on all machines at the same time.

        Where one fails, the others go back to what the disk says: config.pbtxt is to name the version before until this
        has returned.

        Raises:
            ServerProcessError: the first one's, with its address.
        """
        outcomes = await self._each(lambda control: control.load_model(name, config_json))
        failed = {address: error for address, error in outcomes.items() if error is not None}
        if not failed:
            return
        took = [address for address, error in outcomes.items() if error is None]
        # By the config itself: without one Triton loads nothing where no file has changed since it was given another.
        disk = self._on_disk(name)
        back = await self._each(lambda control: control.load_model(name, disk), took)
        stuck = [address for address, error in back.items() if error is not None]
        address, error = next(iter(failed.items()))
        also = f"; also at {', '.join(list(failed)[1:])}" if len(failed) > 1 else ""
        also += f"; {', '.join(stuck)} could not go back to the version before" if stuck else ""
        raise ServerProcessError(
            f"{address}: {error.message}{also}", exit_code=error.exit_code, log_tail=error.log_tail, hint=error.hint
        ) from error

    async def repository_index(self) -> tuple[ModelState, ...]:
        """Every version that any machine knows of, once for each machine; what one does not have, or say, has no state.

        Raises:
            ServerProcessError: no machine answers.
        """
        found: dict[str, dict[tuple[str, str], ModelState]] = {}

        async def ask(address: str, control: Control) -> None:
            found[address] = {(each.name, each.version): each for each in await control.repository_index()}

        outcomes = await self._each_by_address(ask)
        if not found:
            raise next(error for error in outcomes.values() if error is not None)
        keys = dict.fromkeys(key for index in found.values() for key in index)
        states = []
        for address, error in outcomes.items():
            why = f"{address} has not loaded it" if error is None else f"{address} does not answer"
            has = found.get(address, {})
            states += [has.get((name, version)) or ModelState(name, version, "", why) for name, version in keys]
        return tuple(states)

    async def align(self, serving: Mapping[str, int]) -> list[str]:
        """Has every machine serve what the disk says: one may have been away while another command moved the rest.

        Args:
            serving: model -> version, those that others call first.

        Returns:
            What has changed, a line for each model and machine.

        Raises:
            ServerProcessError: one of them cannot.
        """
        lines: list[str] = []
        outcomes = await self._each_by_address(partial(self._align, serving, lines))
        for address, error in outcomes.items():
            if error is not None:
                raise ServerProcessError(
                    f"{address} does not serve what the repository says: {error.message}",
                    log_tail=error.log_tail,
                    hint=error.hint,
                ) from error
        return lines

    async def settle(self, serving: Mapping[str, int]) -> list[str]:
        """As `align` and at the end of an order, also on machines that have come since; what cannot be done is a line more."""
        silent = await self._join()
        lines = [f"{address} does not answer; it takes what the repository says when it starts" for address in silent]
        outcomes = await self._each_by_address(partial(self._align, serving, lines))
        lines += [f"{address}: {error.message}" for address, error in outcomes.items() if error is not None]
        return lines

    async def _align(self, serving: Mapping[str, int], lines: list[str], address: str, control: Control) -> None:
        for name, version in serving.items():
            if not await _serves(control, name, version):
                await control.load_model(name, self._on_disk(name))
                if not await _serves(control, name, version):
                    raise ServerProcessError(f"it has loaded {name}, and does not serve version {version}")
                lines.append(f"{address} did not serve version {version} of {name}, and does now")

    async def _join(self) -> list[str]:
        """Takes in machines that are new.

        Returns:
            Addresses of those that do not answer.
        """
        fresh = {each: self._connect(each) for each in await resolved(self._addresses) if each not in self._members}
        live = await asyncio.gather(*(control.server_live() for control in fresh.values()))
        silent = []
        for (address, control), answers in zip(fresh.items(), live, strict=True):
            if answers:
                self._members[address] = control
            else:
                silent.append(address)
                await control.close()
        return [each for each in silent if each not in self.silent]

    async def _each(
        self, do: Callable[[Control], Coroutine[Any, Any, None]], addresses: Sequence[str] | None = None
    ) -> dict[str, ServerProcessError | None]:
        return await self._each_by_address(lambda _, control: do(control), addresses)

    async def _each_by_address(
        self, do: Callable[[str, Control], Coroutine[Any, Any, None]], addresses: Sequence[str] | None = None
    ) -> dict[str, ServerProcessError | None]:
        """Does something on each machine at the same time, and tells where it failed."""

        async def one(address: str) -> ServerProcessError | None:
            control = self._members[address]
            try:
                await _while_alive(control, do(address, control))
            except ServerProcessError as error:
                return error
            return None

        chosen = self._members if addresses is None else addresses
        return dict(zip(chosen, await asyncio.gather(*map(one, chosen)), strict=True))

    async def _close(self) -> None:
        await asyncio.gather(*(control.close() for control in self._members.values()))


async def _serves(control: Control, name: str, version: int) -> bool:
    index = await control.repository_index()
    return any((each.name, each.version, each.state) == (name, str(version), "READY") for each in index)


async def _while_alive(control: Control, work: Coroutine[Any, Any, None]) -> None:
    """Waits for work that may take any time on a machine that answers: a broken network would hold a load for ever.

    Raises:
        ServerProcessError: the work's, or it says nothing any more.
    """
    task, silent = asyncio.ensure_future(work), 0
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_S))[0]:
            silent = 0 if await control.server_live() else silent + 1
            if silent == _SILENT:
                raise ServerProcessError("Triton does not answer any more")
        await task
    finally:
        task.cancel()
