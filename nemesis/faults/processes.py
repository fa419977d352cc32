"""Processes that are killed, crash, or stop for a while."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil

from nemesis.cluster.cluster import Cluster
from nemesis.faults.injection import Inject, Spared
from nemesis.layout import GATEWAYS, SERVERS, WORKERS
from nemesis.schedule import Card, Fault


def own(cluster: Cluster, target: str) -> list[int]:
    """The process itself."""
    pid = cluster.programs[target].pid
    return [pid] if pid else []


def _family(cluster: Cluster, target: str) -> list[int]:
    """The process, and everything that it has started."""
    return cluster.programs[target].family()


def _child(name: str) -> Callable[[Cluster, str], list[int]]:
    """The first process of a worker that has this name."""

    def of(cluster: Cluster, target: str) -> list[int]:
        return [pid for pid in cluster.programs[target].family()[1:] if _name(pid) == name][:1]

    return of


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # ended meanwhile
        return ""


def once(number: signal.Signals, find: Callable[[Cluster, str], list[int]]) -> Inject:
    """Send a signal, no more: a process that ends is started again by its supervisor."""

    @asynccontextmanager
    async def inject(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
        pids = find(cluster, fault.target)
        _send(number, pids)
        yield _sent(number, pids)

    return inject


def stop(find: Callable[[Cluster, str], list[int]]) -> Inject:
    """Stop processes, and let them go on."""

    @asynccontextmanager
    async def inject(cluster: Cluster, fault: Fault) -> AsyncIterator[str | Spared]:
        pids = find(cluster, fault.target)
        started = _start_times(pids)
        _send(signal.SIGSTOP, pids)
        try:
            yield _sent(signal.SIGSTOP, pids)
        finally:
            # Not to another process that has got the number of one that was killed meanwhile.
            same = _start_times(pids)
            _send(signal.SIGCONT, [pid for pid in pids if same.get(pid) == started.get(pid)])

    return inject


def _send(number: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _start_times(pids: list[int]) -> dict[int, float]:
    found = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found[pid] = psutil.Process(pid).create_time()
    return found


def _sent(number: signal.Signals, pids: list[int]) -> str | Spared:
    if not pids:
        return Spared(f"{number.name} to none: it was not running")
    return f"{number.name} to {', '.join(map(str, pids))}"


_PARTS: Final = (
    ("a gateway", GATEWAYS, own),
    ("a worker", WORKERS, own),
    ("a scorer", WORKERS, _child("scorer")),
    ("an indexer", WORKERS, _child("indexer")),
    ("a forkserver", WORKERS, _child("scorer-launcher")),
    ("Redis", SERVERS, own),
)

FAULTS: Final[dict[Card, Inject]] = {
    **{
        Card(f"kill {part}", f"SIGKILL to {part}", targets, lasts=False): once(signal.SIGKILL, of)
        for part, targets, of in _PARTS
    },
    **{
        Card(f"crash {part}", f"SIGSEGV to {part}", targets, lasts=False): once(signal.SIGSEGV, of)
        for part, targets, of in _PARTS
    },
    **{
        Card(f"stop {part}", f"SIGSTOP to {part}, later SIGCONT", targets): stop(of)
        for part, targets, of in _PARTS
    },
    Card(
        "freeze a worker", "SIGSTOP to a worker and all its processes, later SIGCONT", WORKERS
    ): stop(_family),
}
