"""Ending a worker's tasks, when they do not want to."""

import asyncio
from contextlib import suppress

import structlog

from shard_worker.worker import _cancel
from tests.unit.virtual_time import run_virtually


async def deaf(num_swallowed: int) -> None:
    """Swallow so many cancellations, as asyncio.wait_for may on Python 3.11."""
    for _ in range(num_swallowed):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


def test_a_swallowed_cancellation_is_repeated() -> None:
    """A task that loses two cancellations is ended by the third, and nothing is logged."""

    async def scenario() -> None:
        tasks = [asyncio.create_task(deaf(count)) for count in (0, 2)]
        await asyncio.sleep(0)
        await _cancel(tasks, patience_s=10)
        assert all(task.cancelled() for task in tasks)

    with structlog.testing.capture_logs() as logs:
        run_virtually(scenario())
    assert logs == []


def test_a_task_that_cannot_be_ended_is_named() -> None:
    """The wait is bounded, and then says for whom it was."""

    async def scenario() -> None:
        task = asyncio.create_task(deaf(100), name="jobs")
        await asyncio.sleep(0)
        await _cancel([task], patience_s=10)
        assert asyncio.get_running_loop().time() <= 11
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)

    with structlog.testing.capture_logs() as logs:
        run_virtually(scenario())
    assert [(line["log_level"], line["tasks"]) for line in logs] == [("error", ["jobs"])]
