"""A process of the cluster, which is started again when it ends, as an engine would."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from nemesis.commands import ROOT, started
from nemesis.history import Event, ProcessEnded, ProcessStarted

RESTART_S = 1.0
_DRAIN_S = 20.0


class Program:
    """One process.

    Attributes:
        name: of the process.
        pids: of every process of this name so far.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        record: Callable[[Event], None],
    ) -> None:
        """Run `command`.

        Args:
            name: of the process.
            command: what to run.
            environment: its variables.
            log: the file to which its output is appended.
            record: takes the starts and ends.
        """
        self.name = name
        self.pids: list[int] = []
        self._command = command
        self._environment = environment
        self._log = log
        self._record = record
        self._process: subprocess.Popen[bytes] | None = None
        self._is_wanted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, while it runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def is_wanted(self) -> bool:
        """Whether it is started again when it ends."""
        return self._is_wanted.is_set()

    def hold(self) -> None:
        """Do not start it again before `start`, when it ends."""
        self._is_wanted.clear()

    def start(self) -> None:
        """Start it, and again each time that it ends."""
        self._is_wanted.set()
        if self._running is None:
            self._running = asyncio.create_task(self._keep_running(), name=f"keep {self.name}")

    async def drain(self) -> None:
        """Ask it to end, and do not start it again before `start`."""
        self.hold()
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        if not await _has_ended(process, _DRAIN_S):
            process.kill()
            await _has_ended(process, _DRAIN_S)

    async def stop(self) -> None:
        """The same for good."""
        await self.drain()
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    def signal(self, number: signal.Signals) -> int:
        """Send a signal to the process; its id, 0 if it does not run."""
        pid = self.pid
        if pid is None:
            return 0
        os.kill(pid, number)
        return pid

    def family(self) -> list[int]:
        """The process and what it has started, by session; empty if it does not run.

        Not by parents: processes whose starter was killed have another one by now.
        """
        own = self.pid
        return [own, *(pid for pid in _of_session(own) if pid != own)] if own else []

    async def _keep_running(self) -> None:
        while True:
            await self._is_wanted.wait()
            with self._log.open("ab") as log:
                # A session of its own, by which what it leaves behind can be recognised.
                self._process = started(
                    self._command,
                    cwd=ROOT,
                    env=dict(self._environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            process = self._process
            self.pids.append(process.pid)
            now = time.monotonic()
            self._record(ProcessStarted(at=now, name=self.name, pid=process.pid))
            await _has_ended(process, None)
            ended = ProcessEnded(
                at=time.monotonic(), name=self.name, pid=process.pid, status=process.returncode
            )
            self._record(ended)
            await asyncio.sleep(RESTART_S)


def _of_session(leader: int) -> Iterator[int]:
    """The processes of a session that have not ended."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid


async def _has_ended(process: subprocess.Popen[bytes], timeout_s: float | None) -> bool:
    """Wait for the end of a process, without a thread; whether it came in time."""
    if process.poll() is not None:
        return True
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    try:
        loop.add_reader(descriptor, ended.set)
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    process.wait()
    return True
