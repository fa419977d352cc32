"""One `ProcessPoolExecutor` of scorers, and the memory that it shares with them.

If a process dies, an executor breaks: it ends the others, and takes no more calls. It cannot be
repaired, so the pool starts another.
"""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from hedgerow.common.errors import ConfigurationError
from hedgerow.shard_worker.executors.process_pool.budget import Region, SharedBudgets, regions_of
from hedgerow.shard_worker.executors.process_pool.scorer_process import ScorerSpec
from hedgerow.shard_worker.executors.process_pool.task import Frame
from hedgerow.shard_worker.executors.standard_pool import process
from hedgerow.shard_worker.executors.standard_pool.batch import Batch

# A factory that takes longer hangs.
_START_TIMEOUT_S = 60.0
_LOOK_S = 0.05


class ScorerProcesses:
    """The processes of one executor; `open` and `shut_down` block, so call them in a thread.

    Attributes:
        regions: parts of the shared memory, one for each batch at a time.
        batches: the current batches, by the index of their region; maintained by the pool.
        children: the processes, once `open` has returned.
        ready_at: when `open` returned, in s.
        is_broken: whether a process has died.
    """

    def __init__(self, spec: ScorerSpec, num_processes: int, max_batch: int) -> None:
        self.regions: list[Region] = []
        self.batches: dict[int, Batch] = {}
        self.children: list[BaseProcess] = []
        self.ready_at = 0.0
        self.is_broken = False
        self._spec = spec
        self._num_processes = num_processes
        self._max_batch = max_batch
        self._memory: SharedMemory | None = None
        self._executor: ProcessPoolExecutor | None = None
        self._is_given_up = False

    def open(self) -> None:
        """Start every process and make its handler.

        Raises:
            ConfigurationError: a factory failed or took too long, or `give_up` was called.
            OSError: there is no memory, process or descriptor left.
        """
        num, max_batch = self._num_processes, self._max_batch
        self._memory = SharedMemory(create=True, size=SharedBudgets.size(num, max_batch))
        assert self._memory.buf is not None  # noqa: S101 - only a closed one has none
        self.regions = regions_of(self._memory.buf, num, max_batch)
        self._executor = ProcessPoolExecutor(
            max_workers=num,
            mp_context=_context(self._spec.factory),
            initializer=process.initialise,
            initargs=(self._spec, self._memory.name, num, max_batch),
        )
        try:
            errors = self._start_scorers(self._executor)
        except BrokenExecutor:
            errors = ["a scorer process ended at its start"]
        if self._is_given_up:
            errors = ["closed while it started"]
        if error := next(filter(None, errors), ""):
            raise ConfigurationError(f"{self._spec.factory}: {error}")
        for region in self.regions:
            region.current[0] = 0
        self.ready_at = time.monotonic()

    def _start_scorers(self, executor: ProcessPoolExecutor) -> list[str]:
        starts = [
            executor.submit(process.start_scorer, index, _START_TIMEOUT_S)
            for index in range(self._num_processes)
        ]
        deadline = time.monotonic() + _START_TIMEOUT_S
        while wait(starts, _LOOK_S).not_done:
            if self._is_given_up or time.monotonic() >= deadline:
                self.kill()
        self.children = self._find_children()
        return [start.result() for start in starts]

    def free_places(self) -> list[int]:
        """The regions without a batch, as many as there are free processes."""
        if self.is_broken:
            return []
        return [place for place in range(self._num_processes) if place not in self.batches]

    @property
    def num_busy(self) -> int:
        """How many batches are not known to hang."""
        return sum(not batch.is_hung for batch in self.batches.values())

    def submit(self, index: int, first_generation: int, payloads: Sequence[Any]) -> "Future[Frame]":
        """Run a batch in a process, with its budgets in region `index`; does not block.

        Raises:
            BrokenExecutor: a process has died, and with it the pool.
        """
        assert self._executor is not None  # noqa: S101 - `open` has returned
        return self._executor.submit(process.run, index, first_generation, payloads)

    def give_up(self) -> None:
        """End a running `open`."""
        self._is_given_up = True

    def kill(self) -> None:
        """SIGKILL every process, which breaks the executor."""
        for child in self.children or self._find_children():
            child.kill()

    def shut_down(self) -> None:
        """End the processes, which must be idle or dead, and free the memory."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None
        self.children = []
        regions, self.regions = self.regions, []
        for region in regions:
            region.release()
        if self._memory is not None:
            self._memory.close()
            self._memory.unlink()
            self._memory = None

    def _find_children(self) -> list[BaseProcess]:
        """The processes: their pids are where the generation of the running task will be."""
        pids = {region.current[0] for region in self.regions}
        return [child for child in multiprocessing.active_children() if child.pid in pids]


def _context(factory: str) -> BaseContext:
    """A forkserver that has imported the factory's module, or spawn; never a plain fork.

    A worker has threads, and a fork would copy their locks as they happen to be.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Also "__main__", as by default: otherwise each process would import the program again.
    context.set_forkserver_preload(["__main__", process.__name__, factory.partition(":")[0]])
    return context
