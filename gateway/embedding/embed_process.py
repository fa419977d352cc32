"""A gateway's side of a process that embeds."""

import asyncio
import contextlib
import sys
from typing import Final, Protocol

import msgspec

from hedgerow.common.errors import EmbeddingError, WorkError
from hedgerow.gateway.embedding.frames import HEAD_BYTES, Texts, length_in, pack, read_vectors

_PROGRAM: Final = "hedgerow.gateway.embedding.program"
_LAST_MOMENT_S: Final = 1.0  # on a machine that is busy, too


class Embeds(Protocol):
    """A process that embeds, one request at a time."""

    async def load(self, function: str) -> None:
        """Load a function, so that the first query does not wait for it; raises as `embed`."""

    async def embed(self, function: str, texts: list[str]) -> list[bytes]:
        """Embed texts.

        Raises:
            EmbeddingError: the function could not be loaded, or has failed.
            WorkError: the process has ended, and is of no more use.
        """

    async def close(self) -> None:
        """End the process, whatever it does."""


class EmbedProcess:
    """A process of our own program, which ends when this one does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take over a process; `start` makes one."""
        self._process = process

    @classmethod
    async def start(cls) -> "EmbedProcess":
        """Start a process.

        Raises:
            OSError: that is not possible now.
        """
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                _PROGRAM,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def load(self, function: str) -> None:
        """Load a function, so that the first query does not wait for it; raises as `embed`."""
        await self._exchange(Texts(function, []))

    async def embed(self, function: str, texts: list[str]) -> list[bytes]:
        """Embed texts; see `Embeds`. After a cancelled call, only `close` may be called."""
        return await self._exchange(Texts(function, texts))

    async def _exchange(self, request: Texts) -> list[bytes]:
        requests, replies = self._process.stdin, self._process.stdout
        if requests is None or replies is None:
            raise WorkError("the process that embeds has no pipes")
        try:
            requests.write(pack(request))
            await requests.drain()
            head = await replies.readexactly(HEAD_BYTES)
            reply = read_vectors(await replies.readexactly(length_in(head)))
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            raise WorkError(
                f"the process that embeds has ended: {await self._ended_by()}"
            ) from error
        if reply.error:
            raise EmbeddingError(reply.error)
        return reply.vectors

    async def _ended_by(self) -> str:
        with contextlib.suppress(TimeoutError):  # its pipe closes a moment before it is gone
            async with asyncio.timeout(_LAST_MOMENT_S):
                await self._process.wait()
        status = self._process.returncode
        if status is None:
            return "its pipe is broken"
        return f"signal {-status}" if status < 0 else f"status {status}"

    async def close(self) -> None:
        """End the process, whatever it does."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
