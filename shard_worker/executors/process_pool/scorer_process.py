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
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgpack
import msgspec

from hedgerow.common.errors import WorkError
from hedgerow.shard_worker.executors.error_text import error_line
from hedgerow.shard_worker.executors.process_pool.budget import Budget, Region
from hedgerow.shard_worker.executors.process_pool.task import FailureCode, Frame, ResultRow

_RECEIVE_BYTES = 262_144
_FLUSH_S = 0.001
# The system takes 0.6 µs to tell a process its CPU time, as long as a cheap work runs: works that
# are shorter than this share a reading, which counts for the last of them.
_COUNT_CPU_S = 20e-6


Handler = Callable[[Any, Budget], bytes]

_pack = msgspec.msgpack.Encoder().encode

# An enum's member is looked up through a descriptor in Python 3.11: five times a global's price.
_NO_FAILURE: Final = FailureCode.NONE.value


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """What a scorer process runs.

    Attributes:
        name: the lane's, shown as the process's name.
        factory: "module:callable", called with the config once a process; returns the handler.
        config: the factory's argument, pickled.
        import_path: folders put before all others on `sys.path`.
        prepare: called before the factory, such as to log as the worker does; picklable.
        nice: by how much the process is nicer than the worker; if at all, it is also a batch
            process where the system has such (sched(7)).
    """

    name: str
    factory: str
    config: bytes
    import_path: tuple[str, ...]
    prepare: Callable[[], None] | None = None
    nice: int = 0


def run_scorer(spec: ScorerSpec, channel: socket.socket, region: Region) -> None:
    """Be a scorer process: make the handler, say so, serve until the worker hangs up."""
    # Ctrl-C and a supervisor's SIGTERM reach the whole group; the worker alone decides when a
    # scorer ends, so that what is in flight can be drained.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    handler = make_handler(spec)
    if isinstance(handler, str):
        channel.sendall(_pack((os.getpid(), handler)))
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.sendall(_pack((os.getpid(), "")))
        serve(channel, region, handler)


def make_handler(spec: ScorerSpec) -> Handler | str:
    """Settle this process as a scorer and make its handler; the error, in a line, if that fails."""
    _stand_back(spec.nice)
    _volunteer_for_the_oom_killer()
    try:
        if spec.prepare is not None:
            spec.prepare()
        handler = _call_factory(spec)
    except Exception as error:  # noqa: BLE001 - whatever the factory raises is the start's outcome
        traceback.print_exception(error)
        return error_line(error)
    # What exists now lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    return handler


def serve(channel: socket.socket, region: Region, handler: Handler) -> None:
    """Answer batches until the other end closes the channel."""
    unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=0)

    def send(frame: Frame) -> None:
        channel.sendall(_pack(frame))

    while data := channel.recv(_RECEIVE_BYTES):
        unpacker.feed(data)
        for first_generation, payloads in unpacker:
            run_batch(region, handler, first_generation, payloads, send)


def run_batch(
    region: Region,
    handler: Handler,
    first_generation: int,
    payloads: Sequence[Any],
    send: Callable[[Frame], None],
    flush_s: float = _FLUSH_S,
) -> None:
    """Run one task after the other; `send` their results, at the end or after `flush_s`."""
    # The CPU time of the process, and not of this thread: a work may have threads of its own.
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
        # Written before the work starts: if this process dies, the worker reads who killed it, and
        # if it has to be killed, what that work has cost.
        began[0], began[1] = started_at, counted_cpu_s
        current[0] = generation
        code: str = _NO_FAILURE
        body: bytes | str
        try:
            body = handler(payload, Budget(generations, expiries, lates, index, generation))
            if type(body) is not bytes:
                code, body = FailureCode.FAILED, f"the handler returned {type(body).__name__}"
        except WorkError as error:
            code, body = FailureCode.of(error), error_line(error)
        except Exception as error:  # noqa: BLE001 - a handler's bug ends its work, not the scorer
            traceback.print_exception(error)
            code, body = FailureCode.FAILED, error_line(error)
        ended_at = clock()
        current[0] = 0
        num_run += 1
        cpu_us = 0
        if ended_at - counted_at >= _COUNT_CPU_S or index == last:
            counted_at, cpu_s = ended_at, cpu_clock()
            cpu_us = int((cpu_s - counted_cpu_s) * 1e6)
            counted_cpu_s = cpu_s
        results.append((index, code, started_at, int((ended_at - started_at) * 1e6), cpu_us, body))
        if ended_at - flushed_at > flush_s and index != last:
            send((False, num_run, (ended_at - flushed_at) * 1e6, results))
            results.clear()
            num_run = 0
            flushed_at = ended_at
        started_at = ended_at
    send((True, num_run, (started_at - flushed_at) * 1e6, results))


def _call_factory(spec: ScorerSpec) -> Handler:
    sys.path[:0] = [folder for folder in spec.import_path if folder not in sys.path]
    module, _, name = spec.factory.partition(":")
    factory = getattr(importlib.import_module(module), name)
    handler: Handler = factory(pickle.loads(spec.config))  # noqa: S301 - packed by the worker itself
    if not callable(handler):
        raise TypeError(f"{spec.factory} returned {type(handler).__name__}, not a callable")
    return handler


def _stand_back(nice: int) -> None:
    """Let the event loops go first."""
    # Where scorers keep all cores busy, every hop of a cancellation would wait for its turn.
    os.nice(nice)
    # And one that wakes interrupts no process (sched(7)). A loop that is cut short passes on the
    # little that it has read so far, which costs each process a further wake-up: 4 % of the CPU.
    if nice and hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _volunteer_for_the_oom_killer() -> None:
    # When memory runs out, the kernel shall take a scorer, which is replaced, not the worker.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
