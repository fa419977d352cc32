"""The process of the clients, as the run sees it."""

import asyncio
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from nemesis.commands import Helper
from nemesis.history import State

_TIMEOUT_S = 240.0


class LoadProcess:
    """Runs the clients.

    Attributes:
        states: gateway → the last state that it showed.
    """

    def __init__(
        self,
        addresses: Mapping[str, tuple[str, int]],
        seed: int,
        history: Path,
        within: Sequence[str],
    ) -> None:
        """Prepare to call the gateways at `addresses`.

        Args:
            addresses: gateway → host and port.
            seed: of what is asked and written.
            history: the file to which calls are recorded.
            within: the beginning of a command that runs in the clients' place.
        """
        self.states: dict[str, State] = {}
        self._changed = asyncio.Event()
        self._answers: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        arguments = {"addresses": addresses, "seed": seed, "history": str(history)}
        self._helper = Helper("nemesis.load", json.dumps(arguments), within=within)
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process, which calls nothing yet."""
        self._helper.start(stdout=subprocess.PIPE)
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._helper.output
        )
        self._reading = asyncio.create_task(self._read(reader), name="output of the clients")

    async def stop(self) -> None:
        """End it; its history is complete then."""
        self._helper.stop()
        if self._reading is not None:
            await self._reading

    def knows(self, gateway: str, pid: int) -> None:
        """Tell it which process a gateway is now."""
        self._helper.tell({"pid": pid, "of": gateway})

    async def do(self, what: str) -> None:
        """Have a command carried out, see `nemesis.load`.

        Raises:
            RuntimeError: it failed, or the process has ended.
        """
        self._helper.tell({"do": what})
        async with asyncio.timeout(_TIMEOUT_S):
            answer = await self._answers.get()
        if answer.get("error"):
            raise RuntimeError(f"the clients could not {what}: {answer['error']}")

    async def changed(self, timeout_s: float) -> None:
        """Wait for the next state that a gateway shows, for at most so long."""
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            said = json.loads(line)
            if "state" in said:
                state = msgspec.convert(said["state"], State)
                self.states[state.gateway] = state
                self._changed.set()
            else:
                await self._answers.put(said)
        await self._answers.put({"error": "the process has ended"})
