"""`gateway up` whose standard streams are closed, or no longer read."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.support.processes import is_alive, processes_mentioning
from tests.support.up import READY_S, up_command
from tests.support.waiting import until

pytestmark = pytest.mark.integration


def fill_pipe(writer: int) -> None:
    """Write to a pipe until it takes nothing more."""
    # By a descriptor of its own: else those who have the same one would not wait either.
    own = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(own, b"x")
    except BlockingIOError:
        os.close(own)


def pid_of_worker(data: Path) -> int:
    """The process id in the worker's lock; 0 if there is none."""
    path = data / "run" / "worker-0.lock"
    return int(path.read_text().strip() or "0") if path.exists() else 0


async def test_output_that_is_not_read_stops_nothing(tmp_path: Path) -> None:
    """Behind a pipe that is full (`gateway up | less`), it restarts a worker, and drains."""
    data = tmp_path / "data"
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *up_command(data), stdout=writer, stderr=writer, start_new_session=True
    )
    try:
        said = b""
        async with asyncio.timeout(READY_S):
            while b"ready at" not in said:
                said += await asyncio.to_thread(os.read, reader, 4096)
        fill_pipe(writer)
        first = pid_of_worker(data)
        os.kill(first, signal.SIGKILL)
        await until(lambda: pid_of_worker(data) not in (0, first), what="the worker is back")
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.returncode is not None, what="it has drained")
        assert process.returncode == 0
        assert not is_alive(pid_of_worker(data))
    finally:
        await end(process, data)
        os.close(reader)
        os.close(writer)


async def test_closed_streams_are_none_of_its_files(tmp_path: Path) -> None:
    """Started without standard streams (`<&- >&- 2>&-`), it gets ready, and drains."""
    data = tmp_path / "data"
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *up_command(data), start_new_session=True
    )
    log = data / "logs" / "gateway.log"
    try:
        await until(
            lambda: (
                process.returncode is not None or (log.exists() and '"ready"' in log.read_text())
            ),
            READY_S,
            what="the gateway is ready, or all has ended",
        )
        assert process.returncode is None
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.returncode is not None, what="it has drained")
        assert process.returncode == 0
    finally:
        await end(process, data)


async def end(process: asyncio.subprocess.Process, data: Path) -> None:
    """Leave nothing."""
    if process.returncode is None:
        process.kill()
        await process.wait()
    await until(lambda: not processes_mentioning(str(data)), what="everything is gone")
