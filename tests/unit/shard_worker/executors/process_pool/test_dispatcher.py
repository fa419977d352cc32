"""What becomes of a task when its scorer dies, with slots that have memory but no process."""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from hedgerow.common.errors import ScorerCrashedError
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from hedgerow.shard_worker.executors.process_pool.budget import SharedBudgets, open_shared_file
from hedgerow.shard_worker.executors.process_pool.dispatcher import Dispatcher
from hedgerow.shard_worker.executors.process_pool.limits import DispatchLimits
from hedgerow.shard_worker.executors.process_pool.scorer_slot import ScorerSlot, SlotState
from hedgerow.shard_worker.executors.process_pool.task import Named, Task, TaskHandle, TaskResult

_EXIT_STATUS = 3


@pytest.fixture
def budgets() -> Iterator[SharedBudgets]:
    """The shared memory of two scorers."""
    fd = open_shared_file(SharedBudgets.size(2, 1))
    budgets = SharedBudgets(fd, 2, 1)
    os.close(fd)
    yield budgets
    budgets.close()


async def test_a_crash_counts_although_the_task_was_taken_back_as_it_began(
    budgets: SharedBudgets,
) -> None:
    """A task that kills each of its scorers costs two of them, not three."""
    dispatcher = Dispatcher(
        "lane",
        DispatchLimits.of(2, 1, 4.0, 100.0),
        Bulkhead(2, 1.0, {}),
        gate=None,
        kill=lambda _slot: None,
        on_free=None,
        on_change=lambda: None,
    )
    for index, region in enumerate(budgets.regions):
        slot = ScorerSlot(index, region)
        slot.state = SlotState.READY
        dispatcher.slots.append(slot)
        dispatcher.on_ready(slot)
    dones: list[TaskResult] = []
    now = time.monotonic()
    handle = TaskHandle(Task(b"", now + 60.0, Named("")), dones.append, now, now + 60.0)
    dispatcher.put(handle)
    await asyncio.sleep(0)
    first = handle.slot
    assert isinstance(first, ScorerSlot)
    generation = handle.generation
    first.take_back(handle)
    budgets.regions[first.index].current[0] = generation
    dispatcher.put_back([handle])
    dispatcher.on_gone(first, _EXIT_STATUS)
    second = handle.slot
    assert isinstance(second, ScorerSlot)
    assert second is not first
    budgets.regions[second.index].current[0] = handle.generation
    dispatcher.on_gone(second, _EXIT_STATUS)
    dispatcher.close(ScorerCrashedError("the test is over"))
    assert [str(done.error) for done in dones] == ["killed the scorer that ran it, twice"]
