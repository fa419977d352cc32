"""Inside a scorer process: one handler, one blocking loop over a socket, no thread.

Frames are MessagePack objects, one after the other:

    scorer → worker, once:  [pid, error]           error is "" when the factory returned
    worker → scorer:        [generation, [payload, …]]
    scorer → worker:        [is_last, num_run, elapsed_us, [[index, code, started_at, work_us,
                             cpu_us, body or message], …]]

A batch's results go back in one frame, or in several when the batch runs long, so that its head
does not wait for its tail. Tracebacks and log lines go to stderr, which is the worker's.
"""

import contextlib
import faulthandler
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgpack
import msgspec

from hedgerow.common.errors import ConfigurationError, WorkError
from hedgerow.shard_worker.executors.error_text import error_line
from hedgerow.shard_worker.executors.process_pool.budget import Budget, Region
from hedgerow.shard_worker.executors.process_pool.task import FailureCode, Frame, ResultRow

_RECEIVE_BYTES = 262_144
_FLUSH_S = 0.001
IDLE_S: Final = 2.0
BUSY_S: Final = 30.0
# Reading the CPU time of a process takes 0.6 µs, as long as a cheap task runs. So tasks that are
# shorter than this share a reading, which counts for the last of them.
_COUNT_CPU_S = 20e-6


# A handler may return a function that makes its result later: just before the result is sent, when
# the tasks after it have run that are sent together with it.
Handler = Callable[[Any, Budget], bytes | Callable[[], bytes]]

_pack = msgspec.msgpack.Encoder().encode

# In Python 3.11, looking up an enum's member takes five times as long as a global.
_NO_FAILURE: Final = FailureCode.NONE.value


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """What a scorer process runs.

    Attributes:
        name: the lane's, shown as the process's name.
        factory: "module:callable", called with the config in each process; returns the handler.
        config: the factory's argument, pickled.
        import_path: folders put before all others on `sys.path`.
        prepare: called before the factory, to configure logging for example; picklable.
        nice: nice value of the process above the worker's; if it is not 0, the process also has the
            policy SCHED_BATCH where the system has that (sched(7)).
        when_idle: called after tasks, once no other has come for `IDLE_S`, and every `BUSY_S` while
            others come, to return memory to the system for example; picklable.
    """

    name: str
    factory: str
    config: bytes
    import_path: tuple[str, ...]
    prepare: Callable[[], None] | None = None
    nice: int = 0
    when_idle: Callable[[], None] | None = None


def run_scorer(spec: ScorerSpec, channel: socket.socket, region: Region) -> Handler | None:
    """Run a scorer process: make the handler, report it, serve until `channel` is closed.

    Returns:
        The handler, to be kept until the process has ended: what it has open ends with the process
        anyway, and to take an indexer's apart first, with some 25 threads, takes 20 ms of CPU.
    """
    # Ctrl-C and a service manager's SIGTERM reach the whole group. Only the worker decides when a
    # scorer ends, so that it can drain tasks in flight.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    handler = make_handler(spec)
    if isinstance(handler, str):
        channel.sendall(_pack((os.getpid(), handler)))
        return None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.sendall(_pack((os.getpid(), "")))
        serve(channel, region, handler, spec.when_idle)
    return handler


def make_handler(spec: ScorerSpec) -> Handler | str:
    """Set up this process as a scorer; returns its handler, or the error in one line."""
    _give_way(spec.nice)
    _volunteer_for_the_oom_killer()
    try:
        if spec.prepare is not None:
            spec.prepare()
        handler = _call_factory(spec)
    except Exception as error:  # noqa: BLE001 - reported as the outcome of the start
        traceback.print_exception(error)
        return error_line(error)
    # What exists now lives as long as the process, so the garbage collector can skip it.
    gc.collect()
    gc.freeze()
    return handler


def serve(
    channel: socket.socket,
    region: Region,
    handler: Handler,
    when_idle: Callable[[], None] | None = None,
    idle_s: float = IDLE_S,
    busy_s: float = BUSY_S,
) -> None:
    """Run batches until the other end closes the channel.

    Args:
        channel: to the worker.
        region: the scorer's part of the shared memory.
        handler: runs a task.
        when_idle: see `ScorerSpec`.
        idle_s: after how long without a task, in s.
        busy_s: for how long it is not called at most while there are tasks, in s.
    """
    received = _Received()
    called_at = time.monotonic()

    def send(frame: Frame) -> None:
        channel.sendall(_pack(frame))

    def run(data: bytes) -> None:  # a function, after which nothing refers to the payloads
        for first_generation, payloads in received.batches(data):
            run_batch(region, handler, first_generation, payloads, send)

    # Linux also wakes a process that waits in recv(2) when the other end has read what it sent
    # before; poll(2) does not.
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while poll.poll() and (data := channel.recv(_RECEIVE_BYTES)):
        run(data)
        if when_idle is None:
            continue
        # Some processes never have a break: one that indexes, while documents are always written.
        if not poll.poll(idle_s * 1000) or time.monotonic() - called_at >= busy_s:
            received.shrink()
            when_idle()
            called_at = time.monotonic()


class _Received:
    """What has been received, up to the end of the last batch that is complete."""

    def __init__(self) -> None:
        self._unpacker = _new_unpacker()
        self._num_bytes = self._num_unpacked = 0

    def batches(self, data: bytes) -> Iterator[tuple[int, Sequence[Any]]]:
        """Add what was received; yields the batches that it completes."""
        self._num_bytes += len(data)
        self._unpacker.feed(data)
        for batch in self._unpacker:
            self._num_unpacked = self._unpacker.tell()
            yield batch

    def shrink(self) -> None:
        """Give up a buffer that has become as large as the largest batch."""
        if self._num_unpacked == self._num_bytes:
            self._unpacker = _new_unpacker()
            self._num_bytes = self._num_unpacked = 0


def _new_unpacker() -> msgpack.Unpacker:
    return msgpack.Unpacker(use_list=False, max_buffer_size=0)


def run_batch(
    region: Region,
    handler: Handler,
    first_generation: int,
    payloads: Sequence[Any],
    send: Callable[[Frame], None],
    flush_s: float = _FLUSH_S,
) -> None:
    """Run tasks one after another; `send` their results at the end and every `flush_s`, in s.

    A task stays the current one until another begins or its result has been sent: the process may
    get no core until then, and the worker must not take it for a task that waits. The last one is
    still there after its result: later batches have other generations, and by then the region may
    be a successor's.
    """
    # The CPU time of the process, not of this thread, since a task may have threads of its own.
    clock, cpu_clock = time.monotonic, time.process_time
    current, generations, expiries = region.current, region.generations, region.expiries
    lates, began = region.lates, region.began
    results: list[ResultRow] = []
    flushed_at = started_at = counted_at = clock()
    counted_cpu_s = cpu_clock()
    num_run, last = 0, len(payloads) - 1
    for index, payload in enumerate(payloads):
        generation = first_generation + index
        if generations[index] != generation:
            continue  # the worker has taken it back
        if started_at >= expiries[index]:
            late = FailureCode.EXPIRED
            results.append((index, late, started_at, 0, 0, "expired before its turn"))
            continue
        # Written before the task starts: if this process dies, the worker reads which task killed
        # it, and if it has to be killed, what that task has cost.
        began[0], began[1] = started_at, counted_cpu_s
        current[0] = generation
        budget = Budget(generations, expiries, lates, index, generation)
        code, body = _outcome(handler, payload, budget)
        ended_at = clock()
        num_run += 1
        cpu_us = 0
        if ended_at - counted_at >= _COUNT_CPU_S or index == last:
            counted_at, cpu_s = ended_at, cpu_clock()
            cpu_us = int((cpu_s - counted_cpu_s) * 1e6)
            counted_cpu_s = cpu_s
        results.append((index, code, started_at, int((ended_at - started_at) * 1e6), cpu_us, body))
        if ended_at - flushed_at > flush_s and index != last:
            if _finish(region, first_generation, results):
                ended_at = clock()
            send((False, num_run, (ended_at - flushed_at) * 1e6, results))
            current[0] = 0
            results.clear()
            num_run = 0
            flushed_at = ended_at
        started_at = ended_at
    if _finish(region, first_generation, results):
        started_at = clock()
    send((True, num_run, (started_at - flushed_at) * 1e6, results))


def _finish(region: Region, first_generation: int, results: list[ResultRow]) -> bool:
    """Make the results that handlers have left until now; returns whether there were any."""
    unfinished = [at for at, row in enumerate(results) if callable(row[-1])]
    if not unfinished:
        return False
    clock, cpu_s = time.monotonic, time.process_time()
    began_at = clock()
    for at in unfinished:
        index, _, started_at, work_us, cpu_us, make = results[at]
        # As a task of its own: the worker sees which it is if this process dies or has to be
        # killed, and what that has cost.
        region.began[0], region.began[1] = began_at, cpu_s
        region.current[0] = first_generation + index
        code, body = _outcome(make)
        ended_at = clock()
        if at == unfinished[-1]:
            cpu_us += int((time.process_time() - cpu_s) * 1e6)
        work_us += int((ended_at - began_at) * 1e6)
        results[at] = (index, code, started_at, work_us, cpu_us, body)
        began_at = ended_at
    return True


def _outcome(work: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:
    """Do a task's work; returns a failure code, and the body or the error's message."""
    try:
        body = work(*arguments)
    except WorkError as error:
        return FailureCode.of(error), error_line(error)
    except ConfigurationError as error:  # says what to change; where it was raised does not matter
        return FailureCode.FAILED, error_line(error)
    except Exception as error:  # noqa: BLE001 - a bug ends its task, not the scorer
        traceback.print_exception(error)
        return FailureCode.FAILED, error_line(error)
    if type(body) is bytes or callable(body):
        return _NO_FAILURE, body
    return FailureCode.FAILED, f"the handler returned {type(body).__name__}"


def _call_factory(spec: ScorerSpec) -> Handler:
    sys.path[:0] = [folder for folder in spec.import_path if folder not in sys.path]
    module, _, name = spec.factory.partition(":")
    factory = getattr(importlib.import_module(module), name)
    handler: Handler = factory(pickle.loads(spec.config))  # noqa: S301 - pickled by the worker
    if not callable(handler):
        raise TypeError(f"{spec.factory} returned {type(handler).__name__}, not a callable")
    return handler


def _give_way(nice: int) -> None:
    """Let event loops run first."""
    # While scorers keep all cores busy, every step of a cancellation would wait for its turn.
    os.nice(nice)
    # With SCHED_BATCH, a scorer that wakes does not preempt other processes (sched(7)). An event
    # loop that is preempted passes on only what it has read so far, which costs each process a
    # further wake-up: 4 % of the CPU time.
    if nice and hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _volunteer_for_the_oom_killer() -> None:
    # If memory runs out, the kernel should kill a scorer, which is replaced, not the worker.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
