"""`gateway up` as a separate process, as users run it, and loading documents into it."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.harness.http_load import HttpGateway
from bench.harness.processes import Cores, descendants
from hedgerow.gateway.client import AsyncClient

# Long enough that a worker which is stopped while others are measured still counts as live.
PATIENT_S = "3600"
PATIENT = {"HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S": PATIENT_S}
_START_TIMEOUT_S = 120.0
_STATE_TIMEOUT_S = 300.0
_LOAD_TIMEOUT_S = 600.0
_ROW = re.compile(r"(redis|gateway(?:-\d+)?|worker-\d+) +(\d+) ")
_READY = re.compile(r"ready at http://(\S+):(\d+),")
_SIZE = re.compile(r"\d+ cores?: ")


@dataclass(slots=True)
class Up:
    """What a `gateway up` has printed about itself.

    Attributes:
        pids: process → its id.
        size: the line that says how large it is, and why.
        address: host and port of its gateway.
    """

    pid: int
    pids: dict[str, int] = field(default_factory=dict)
    size: str = ""
    address: tuple[str, int] | None = None

    def read(self, line: str) -> None:
        """Parse one line of its output."""
        if row := _ROW.match(line):
            self.pids[row[1]] = int(row[2])
        elif _SIZE.match(line):
            self.size = line
        elif ready := _READY.match(line):
            self.address = ready[1], int(ready[2])

    @property
    def url(self) -> str:
        """Where its gateway answers."""
        assert self.address is not None
        return "http://{}:{}".format(*self.address)

    @property
    def gateways(self) -> list[int]:
        """The processes of its gateway."""
        return [pid for name, pid in self.pids.items() if name.startswith("gateway")]

    @contextlib.contextmanager
    def http(self) -> Iterator[HttpGateway]:
        """A bare exchange with its gateway."""
        assert self.address is not None
        gateway = HttpGateway(*self.address, self.gateways[0])
        try:
            yield gateway
        finally:
            gateway.close()

    def parts(self) -> dict[str, list[int]]:
        """The processes of each part."""
        workers = [pid for name, pid in self.pids.items() if name.startswith("worker-")]
        return {
            "client": [os.getpid()],
            "gateway": self.gateways,
            "Redis": [self.pids["redis"]],
            "workers": workers,
            "scorers": [pid for worker in workers for pid in descendants(worker)],
            "supervisor": [self.pid],
        }


@contextlib.asynccontextmanager
async def run_up(
    data: Path,
    *options: str,
    environment: Mapping[str, str] = PATIENT,
    cores: Cores | None = None,
) -> AsyncIterator[Up]:
    """Run `gateway up` on any free port; none of its processes is left after the block.

    Args:
        data: its folder.
        options: of the command.
        environment: variables in addition to those of this process.
        cores: which cores the cluster has; within the block, this process and its children run on
            the clients' cores.

    Raises:
        RuntimeError: it ended before it was ready.
        TimeoutError: it is not ready in time.
    """
    cores = cores or Cores.part(are_shared=True)
    os.sched_setaffinity(0, cores.cluster)  # which its processes inherit
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hedgerow.gateway.cli.main",
        "up",
        "--data",
        str(data),
        "--port",
        "0",
        *options,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    up = Up(process.pid)
    rest: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while up.address is None:
                line = (await process.stdout.readline()).decode()
                if not line:
                    raise RuntimeError("gateway up has ended before it was ready")
                sys.stderr.write(line)
                up.read(line.rstrip())
        rest = asyncio.create_task(_pass_on(process.stdout), name="output of gateway up")
        os.sched_setaffinity(0, cores.clients)
        yield up
    finally:
        os.sched_setaffinity(0, cores.cluster | cores.clients)
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await (rest or _pass_on(process.stdout))
        await process.wait()


async def _pass_on(output: asyncio.StreamReader) -> None:
    while line := await output.readline():
        sys.stderr.write(line.decode())


async def load_into(
    client: AsyncClient,
    name: str,
    documents: Iterable[dict[str, Any]],
    num_documents: int,
    num_before: int = 0,
    **definition: Any,
) -> float:
    """Load a collection, optimise its indexes, and wait until its statistics have spread.

    Args:
        client: of the gateway.
        name: of the collection, which is created if it does not exist.
        documents: to load.
        num_documents: how many there are.
        num_before: how many documents the collection already has.
        definition: of the collection.

    Returns:
        How long loading and optimising took, in s; statistics follow within some seconds.
    """
    started = time.perf_counter()
    await client.put_collection(name, **definition)
    # On a busy machine, waiting here until they are applied could time out and fail the load.
    report = await client.index(name, documents, wait="logged", timeout_s=_LOAD_TIMEOUT_S)
    if report.accepted != num_documents:
        raise RuntimeError(f"{report.accepted} of {num_documents} documents were accepted")

    def has_all(collection: Any) -> bool:
        return bool(collection.documents == num_before + num_documents)

    await _wait_until("all are applied", client, name, has_all)
    wanted_at_ms = (await client.optimise(name)).wanted_at_ms

    def is_optimised(collection: Any) -> bool:
        index = collection.index
        return bool(index.wanted_at_ms == wanted_at_ms and index.waiting == 0)

    def is_spread(collection: Any) -> bool:
        statistics = collection.statistics
        # Until the workers have reported the documents, no statistics seem to be missing.
        return has_all(collection) and bool(statistics.is_current and statistics.is_spread)

    await _wait_until("the indexes are optimised", client, name, is_optimised)
    took_s = time.perf_counter() - started
    await _wait_until("the term statistics are spread", client, name, is_spread)
    return took_s


async def _wait_until(
    what: str, client: AsyncClient, name: str, is_true: Callable[[Any], bool]
) -> None:
    give_up_at = time.monotonic() + _STATE_TIMEOUT_S
    while True:
        collections = (await client.status()).collections
        if is_true(next(one for one in collections if one.name == name)):
            return
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {_STATE_TIMEOUT_S:g} s: {what}")
        await asyncio.sleep(0.1)
