"""Work that misbehaves on request; only the lab's configuration names it.

Second phases do what the query's script says for their shard (see `lab.script`), and give all
documents the same score; the hooks of the fetch, at the end, always do the same.
"""

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

from lab.compute import compute
from lab.journal import noted
from lab.script import read

Document = dict[str, Any]

# In the environment: paths of files whose existence means that the dependency is degraded, and that
# a process has crashed before.
DEGRADED = "HEDGEROW_LAB_DEGRADED"
CRASHED = "HEDGEROW_LAB_CRASHED"
WELL_S = 0.02
STALL_S, STALL_SHARE = 0.15, 0.02
USUAL_S, USUAL_SIGMA = 0.005, 0.3
LEAK_BYTES = 2**20
HOOK_S = 3.0

_LOOK_S = 0.005  # 64 scorers that check every millisecond would fill two cores
_LOOK_STEPS = 10_000
_kept: list[bytes] = []


def wait(seconds: float, budget: Any) -> None:
    """Wait, and check the budget meanwhile, as well-behaved work does."""
    until = time.monotonic() + seconds
    while not budget.expired() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_S))


def sleep(query: str, documents: list[Document], budget: Any) -> list[float]:
    """Wait as well-behaved work does."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        wait(seconds, budget)
    return [0.0] * len(documents)


def burn(query: str, documents: list[Document]) -> list[float]:
    """Compute for the time in the script, and check nothing else."""
    shard, seconds = read(query, documents[0]["id"])
    until = time.monotonic() + seconds
    with noted(shard):
        while time.monotonic() < until:
            compute(_LOOK_STEPS)
    return [0.0] * len(documents)


def block(query: str, documents: list[Document]) -> list[float]:
    """Wait in one call, and check nothing: if it takes too long, it must be killed."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        time.sleep(seconds)
    return [0.0] * len(documents)


def hang(query: str, documents: list[Document]) -> list[float]:
    """Where the script has any time, wait for ever for a lock that is never released."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        if seconds:
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
    return [0.0] * len(documents)


def crash(query: str, documents: list[Document]) -> list[float]:
    """Where the script has a time, die after it."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        if seconds:
            _die_after(seconds)
    return [0.0] * len(documents)


def crash_once(query: str, documents: list[Document]) -> list[float]:
    """Die as `crash` does, but only the first time in the cluster."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        if seconds and _is_first_crash():
            _die_after(seconds)
    return [0.0] * len(documents)


def _die_after(seconds: float) -> None:
    """End this process, as a fault in a native library does."""
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_first_crash() -> bool:
    try:
        Path(os.environ[CRASHED]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def leak(_query: str, documents: list[Document]) -> list[float]:
    """Keep something of every query for ever."""
    _kept.append(os.urandom(LEAK_BYTES))  # zeros would take no memory until they are written to
    return [0.0] * len(documents)


def dependency(query: str, documents: list[Document], budget: Any) -> list[float]:
    """Answer quickly; once the dependency is degraded, take as long as the script says."""
    _, seconds = read(query, documents[0]["id"])
    is_degraded = Path(os.environ[DEGRADED]).exists()
    wait(seconds if is_degraded else WELL_S, budget)
    return [0.0] * len(documents)


def stall(_query: str, documents: list[Document], budget: Any) -> list[float]:
    """Take a few ms, and occasionally much longer, drawn independently for each attempt."""
    seconds = USUAL_S * random.lognormvariate(0, USUAL_SIGMA)
    if random.random() < STALL_SHARE:
        seconds += STALL_S
    wait(seconds, budget)
    return [0.0] * len(documents)


# ---- hooks of the fetch


def hook_fails(_documents: list[Document]) -> list[Document]:
    """Fail, as when the old system is down."""
    raise ConnectionError("the old system is down")


def hook_blocks(documents: list[Document]) -> list[Document]:
    """Take longer than any deadline, as when the old system does not answer."""
    time.sleep(HOOK_S)
    return documents
