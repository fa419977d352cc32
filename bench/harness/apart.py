"""Processes that are measured, as the driver sees them: they are paused, asked and ended.

A command goes out as a line, and a JSON object comes back as a line (`bench.harness.pipe`).
"""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

from bench.harness.processes import Family, send

_ROOT = Path(__file__).parents[2]
_MOST_LINE_BYTES = 2**28  # of a load's latencies


class Apart:
    """A process that is measured, with all its descendants.

    Attributes:
        pid: of the process that the driver talks to.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, errors: Path, failure: type[Exception]
    ) -> None:
        """See `launch`."""
        self.pid = process.pid
        self._process = process
        self._errors = errors
        self._failure = failure
        self._family = Family(process.pid)

    @classmethod
    async def launch(cls, *command: str, errors: Path, failure: type[Exception]) -> "Apart":
        """Start a process that is to be measured.

        Args:
            command: the program and its arguments.
            errors: the file to which its standard error is appended; if it does not answer, the
                last line of the file is reported.
            failure: what is raised when it does not answer.
        """
        with errors.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_MOST_LINE_BYTES,
                start_new_session=True,  # the driver handles an interrupt at the keyboard
            )
        return cls(process, errors, failure)

    def pids(self) -> list[int]:
        """The process and its descendants, as far as they are alive."""
        return self._family.pids()

    def pause(self) -> None:
        """Stop all processes, so that they cost the others nothing."""
        send(signal.SIGSTOP, self.pids())

    def resume(self) -> None:
        """Let all processes run again."""
        send(signal.SIGCONT, self.pids())

    async def ask(self, command: str, timeout_s: float) -> dict[str, Any]:
        """Send a command; returns the answer.

        Raises:
            Exception: of the type given to `launch`: no answer came in time.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        return await self.receive(timeout_s)

    async def receive(self, timeout_s: float) -> dict[str, Any]:
        """Read the next line that it sends.

        Raises:
            Exception: of the type given to `launch`: no answer came in time.
        """
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout_s)
        except TimeoutError:
            raise self._failure(
                f"no answer within {timeout_s:.0f} s; {self._last_words()}"
            ) from None
        if not line:
            raise self._failure(f"has ended; {self._last_words()}")
        received: dict[str, Any] = json.loads(line)
        return received

    def hang_up(self) -> None:
        """Close its standard input, upon which it ends by itself."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.close()

    async def end(self, patience_s: float) -> None:
        """Wait until it ends, and then kill what is left of it."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), patience_s)
        await self._family.kill()
        await self._process.wait()

    def _last_words(self) -> str:
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else "it said nothing"
