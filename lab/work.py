"""Work that misbehaves as it is told; only the lab's configuration names it.

Second phases do what their query's script says for their shard (see `lab.script`), and score all
alike; hooks of the fetch, at the end, do always the same.
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

# In the environment: files whose being there says that the dependency is degraded, and that
# somebody has crashed before.
DEGRADED = "HEDGEROW_LAB_DEGRADED"
CRASHED = "HEDGEROW_LAB_CRASHED"
WELL_S = 0.02
STALL_S, STALL_SHARE = 0.15, 0.02
USUAL_S, USUAL_SIGMA = 0.005, 0.3
LEAK_BYTES = 2**20
HOOK_S = 3.0

_LOOK_S = 0.005  # 64 scorers that look each millisecond fill two cores
_LOOK_STEPS = 10_000
_kept: list[bytes] = []


def wait(seconds: float, budget: Any) -> None:
    """Wait, and look at the budget meanwhile, as good work does."""
    until = time.monotonic() + seconds
    while not budget.expired() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_S))


def sleep(query: str, documents: list[Document], budget: Any) -> list[float]:
    """Wait as good work does."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        wait(seconds, budget)
    return [0.0] * len(documents)


def burn(query: str, documents: list[Document]) -> list[float]:
    """Compute, and look at nothing but the time that it is told."""
    shard, seconds = read(query, documents[0]["id"])
    until = time.monotonic() + seconds
    with noted(shard):
        while time.monotonic() < until:
            compute(_LOOK_STEPS)
    return [0.0] * len(documents)


def block(query: str, documents: list[Document]) -> list[float]:
    """Wait in one call, and look at nothing: what is told to take long must be killed."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        time.sleep(seconds)
    return [0.0] * len(documents)


def hang(query: str, documents: list[Document]) -> list[float]:
    """Wait for ever where the script says any time, for a lock that nobody gives back."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        if seconds:
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
    return [0.0] * len(documents)


def crash(query: str, documents: list[Document]) -> list[float]:
    """Where the script says a time, die after it."""
    shard, seconds = read(query, documents[0]["id"])
    with noted(shard):
        if seconds:
            _die_after(seconds)
    return [0.0] * len(documents)


def crash_once(query: str, documents: list[Document]) -> list[float]:
    """Die as `crash` does, the first time that the cluster is told to."""
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
    """Answer soon, as long as all is well; take as long as the script says once it is degraded."""
    _, seconds = read(query, documents[0]["id"])
    is_degraded = Path(os.environ[DEGRADED]).exists()
    wait(seconds if is_degraded else WELL_S, budget)
    return [0.0] * len(documents)


def stall(_query: str, documents: list[Document], budget: Any) -> list[float]:
    """Take some ms, and now and then much longer, by chance that each try of a request has anew."""
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
