"""Inside a process of the standard pool: the handler, and the functions that the executor calls.

The executor pickles these functions by name, and their arguments and results by value.
"""

import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Final

from hedgerow.shard_worker.executors.process_pool.budget import Region, regions_of
from hedgerow.shard_worker.executors.process_pool.scorer_process import (
    Handler,
    ScorerSpec,
    make_handler,
    run_batch,
)
from hedgerow.shard_worker.executors.process_pool.task import Frame

_LOOK_S = 0.001


@dataclass(slots=True)
class _Scorer:
    """What this process was started with, and the handler once it is made."""

    spec: ScorerSpec
    memory: SharedMemory
    regions: list[Region]
    handler: Handler | None = None


_this_process: Final[list[_Scorer]] = []  # has one item after `initialise`


def initialise(spec: ScorerSpec, memory_name: str, num_regions: int, max_batch: int) -> None:
    """Set up a new process; `start_scorer` makes its handler, since it can report an error."""
    # Ctrl-C reaches the whole group, but only the worker decides when a process ends. SIGTERM must
    # not be ignored, since with it the executor ends the processes of a broken pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()
    memory = SharedMemory(memory_name)
    assert memory.buf is not None  # noqa: S101 - only a closed one has none
    _this_process.append(_Scorer(spec, memory, regions_of(memory.buf, num_regions, max_batch)))


def start_scorer(index: int, timeout_s: float) -> str:
    """Make this process's handler; returns the error in one line, or "".

    First waits until every process has such a call, so that no process gets two.
    """
    (this,) = _this_process
    deadline = time.monotonic() + timeout_s
    this.regions[index].current[0] = os.getpid()
    while not all(region.current[0] for region in this.regions):
        if time.monotonic() >= deadline:
            return f"not all processes came within {timeout_s:g} s"
        time.sleep(_LOOK_S)
    handler = make_handler(this.spec)
    if isinstance(handler, str):
        return handler
    this.handler = handler
    return ""


def run(index: int, first_generation: int, payloads: Sequence[Any]) -> Frame:
    """Run a batch; `index` is the region of shared memory that has its budgets."""
    (this,) = _this_process
    assert this.handler is not None  # noqa: S101 - no batch is sent before
    frames: list[Frame] = []
    region = this.regions[index]
    region.pid[0] = os.getpid()  # before the first task, which says who runs it
    run_batch(
        region,
        this.handler,
        first_generation,
        payloads,
        send=frames.append,
        flush_s=float("inf"),  # a call has one result, so the batch is answered as a whole
    )
    return frames[0]


def _end_with_parent() -> None:
    """End this process when the worker ends, which the executor's queues do not report."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
