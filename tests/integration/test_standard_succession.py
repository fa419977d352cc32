"""How processes of the standard pool follow each other: none is left when the pool has ended."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.shard_worker.executors.standard_pool.processes import ScorerProcesses
from hedgerow.shard_worker.executors.standard_pool.succession import Succession
from tests.support.waiting import until

pytestmark = pytest.mark.integration


class Processes:
    """Stands for processes whose start takes until the test lets it fail, or none at all."""

    def __init__(self, may_fail: threading.Event | None) -> None:
        """Fail once `may_fail` is set; None starts at once."""
        self.children: list[Any] = []
        self.batches: dict[int, Any] = {}
        self.num_busy = 0
        self.is_shut_down = False
        self.has_begun = False
        self._may_fail = may_fail

    def open(self) -> None:
        """Start, or fail."""
        self.has_begun = True
        if self._may_fail is not None:
            self._may_fail.wait(60)
            raise ConfigurationError("it does not start")

    def give_up(self) -> None:
        """The start fails by itself."""

    def kill(self) -> None:
        """There are none."""

    def shut_down(self) -> None:
        """Note it."""
        self.is_shut_down = True


async def test_what_failed_to_start_is_shut_down_though_the_pool_ends_meanwhile() -> None:
    """On a busy machine, the thread that shuts it down may not have begun when the pool is closed.

    Its shared memory would be left, and processes that have started.
    """
    may_fail, is_free = threading.Event(), threading.Event()
    first, failing = Processes(None), Processes(may_fail)
    made = iter([first, failing])
    make = cast("Callable[[], ScorerProcesses]", lambda: next(made))
    succession = Succession("scorers", make, cast("Any", None))
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(1)
    loop.set_default_executor(threads)
    await succession.start()
    succession.replace()
    await until(lambda: failing.has_begun)
    is_taken = threading.Event()

    def take() -> None:
        is_taken.set()
        is_free.wait(60)

    busy = loop.run_in_executor(None, take)
    may_fail.set()
    await until(lambda: is_taken.is_set() and threads._work_queue.qsize() == 1)
    closing = asyncio.create_task(succession.close())
    await asyncio.sleep(0)
    is_free.set()
    await asyncio.gather(busy, closing)
    assert failing.is_shut_down
    assert first.is_shut_down
