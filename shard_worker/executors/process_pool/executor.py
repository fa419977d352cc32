"""The supervised pool for threads, and for programs that have no event loop.

    with ProcessPool("models:make_handler", config, num_processes=4) as pool:
        future = pool.submit(payload, timeout_s=0.5)
        print(future.result())
        for answer in pool.map(payloads, timeout_s=2.0):
            ...

`submit`, `map`, `shutdown` and the context manager are those of `concurrent.futures.Executor`, with
one difference: a task is not a function with arguments but a payload, for the handler that
`factory(config)` makes once in each process. So what a task needs that is large or slow to load is
there before the first one, nothing is pickled a task, and the handler gets a budget. What the
executor of the standard library cannot do comes with it: a task that runs on past its time is
killed alone, and a process that dies takes down only what it ran.

The pool of a worker is `pool.ProcessLane` itself, on the worker's loop; this one has a loop of its
own, in a thread.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Self

from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane
from hedgerow.shard_worker.executors.process_pool.task import Named, Task, TaskHandle, TaskResult

# `map` keeps as many tasks ahead of the one that is waited for: a batch that runs and one that
# waits, for each process.
_BATCHES_AHEAD = 2


class ProcessPool:
    """Runs `factory(config)`'s handler over payloads in `num_processes` supervised processes."""

    def __init__(
        self,
        factory: str,
        config: object = None,
        *,
        num_processes: int,
        max_batch: int = 64,
        batch_window_ms: float = 4.0,
        kill_grace_ms: float = 250.0,
        import_path: Sequence[str] = (),
        name: str = "pool",
    ) -> None:
        """Start the processes and wait until all are ready.

        Args:
            factory: "module:callable", called once in each process; returns
                `handler(payload, budget: Budget) -> bytes`. Its module is imported in a process
                that forks, so importing it must start no thread.
            config: the factory's argument, picklable.
            num_processes: processes, each of which runs one task at a time.
            max_batch: most tasks that cross to a process together.
            batch_window_ms: a batch holds as many tasks as start within this time.
            kill_grace_ms: how long a task may run past its deadline before its process is killed.
            import_path: folders that the processes put first on `sys.path`.
            name: shown in logs and as the processes' name.

        Raises:
            ConfigurationError: the factory failed, with its error.
        """
        self._lane = ProcessLane(
            factory=factory,
            config=config,
            num_processes=num_processes,
            max_batch=max_batch,
            batch_window_ms=batch_window_ms,
            kill_grace_ms=kill_grace_ms,
            gate=None,
            name=name,
            import_path=import_path,
        )
        self._num_ahead = _BATCHES_AHEAD * max_batch * num_processes
        self._lock = threading.Lock()  # of `_is_shut`, so that nothing is submitted after the end
        self._is_shut = False
        self._handles: dict[Future[bytes], TaskHandle] = {}  # for the loop's thread alone
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon: a program that forgets to shut the pool down can end, and the processes with it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._loop, self._has_ended = self._ready.result()

    def submit(
        self, payload: Any, *, timeout_s: float | None = None, label: str = ""
    ) -> "Future[bytes]":
        """Run the handler over a payload; the future has what it returns.

        The future can be cancelled until the task has ended: what waits is dropped, and what runs
        is stopped through its budget, or killed after the grace period. Its exception is an
        ExpiredError (`timeout_s` has passed), a ScorerCrashedError (two processes died of it), any
        WorkError (the handler raised; with the error's last line), or a LaneUnavailableError (too
        many tasks wait: 16 batches for each process, and never fewer than 1,024).

        Args:
            payload: bytes, or a tuple of what MessagePack carries.
            timeout_s: how long it may take from now on, in s; None for any time.
            label: names the task in the log when its process is killed.

        Raises:
            RuntimeError: the pool was shut down.
        """
        expires_at = math.inf if timeout_s is None else time.monotonic() + timeout_s
        task = Task(payload, expires_at, Named(label))
        future: Future[bytes] = Future()
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot submit to a pool that was shut down")
            self._loop.call_soon_threadsafe(self._submit, task, future)
        return future

    def map(self, payloads: Iterable[Any], *, timeout_s: float | None = None) -> Iterator[bytes]:
        """What the handler returns for each payload, in their order.

        Two batches for each process are submitted ahead of the result that is waited for. Ends with
        the first exception; what is ahead is cancelled then, and when the iterator is closed.

        Args:
            payloads: as `submit` takes them.
            timeout_s: how long each may take from its submission on, in s; None for any time.
        """
        remaining = iter(payloads)
        first = (
            self.submit(one, timeout_s=timeout_s) for one in islice(remaining, self._num_ahead)
        )
        return self._results(deque(first), remaining, timeout_s)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; the processes end after those that there are.

        Args:
            wait: until all of that has happened.
            cancel_futures: cancel the tasks that no process has.
        """
        with self._lock:
            self._is_shut = True
        with suppress(RuntimeError):  # it has ended before
            if cancel_futures:
                self._loop.call_soon_threadsafe(self._cancel_waiting)
            self._loop.call_soon_threadsafe(self._has_ended.set)
        if wait:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()

    def _results(
        self, ahead: "deque[Future[bytes]]", remaining: Iterator[Any], timeout_s: float | None
    ) -> Iterator[bytes]:
        try:
            while ahead:
                result = ahead[0].result()
                ahead.popleft()
                ahead.extend(self.submit(one, timeout_s=timeout_s) for one in islice(remaining, 1))
                yield result
        finally:
            for future in ahead:
                future.cancel()

    # ---- in the loop's thread

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        try:
            await self._lane.start()
        except BaseException as error:  # noqa: BLE001 - it is raised where the pool is made
            self._ready.set_exception(error)
            return
        has_ended = asyncio.Event()
        self._ready.set_result((asyncio.get_running_loop(), has_ended))
        await has_ended.wait()
        await self._lane.close(threading.TIMEOUT_MAX)

    def _submit(self, task: Task, future: "Future[bytes]") -> None:
        self._handles[future] = self._lane.submit(task, partial(self._end, future))
        future.add_done_callback(self._on_done)

    def _end(self, future: "Future[bytes]", done: TaskResult) -> None:
        del self._handles[future]
        if not future.set_running_or_notify_cancel():
            return
        if done.error is not None:
            future.set_exception(done.error)
        else:
            future.set_result(done.body)

    def _on_done(self, future: "Future[bytes]") -> None:
        """Cancel the task of a future that was cancelled; in any thread."""
        if future.cancelled():
            with suppress(RuntimeError):  # the loop has ended, and with it the task
                self._loop.call_soon_threadsafe(self._cancel, future)

    def _cancel(self, future: "Future[bytes]") -> None:
        if (handle := self._handles.get(future)) is not None:
            self._lane.cancel(handle)

    def _cancel_waiting(self) -> None:
        for future, handle in list(self._handles.items()):
            if handle.slot is None:
                future.cancel()
