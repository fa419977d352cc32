"""Ending tasks that resist cancellation."""

import asyncio
from contextlib import suppress

import pytest
import structlog

from hedgerow.common.tasks import KeyedTasks, all_of, end, run_together
from tests.support.garbage import left_to_collector
from tests.support.virtual_time import run_virtually


async def deaf(num_swallowed: int) -> None:
    """Swallow this many cancellations, as asyncio.wait_for may on Python 3.11."""
    for _ in range(num_swallowed):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


def test_a_swallowed_cancellation_is_repeated() -> None:
    """A task that loses two cancellations is ended by the third, and nothing is logged."""

    async def scenario() -> None:
        tasks = [asyncio.create_task(deaf(count)) for count in (0, 2)]
        await asyncio.sleep(0)
        await end(tasks, patience_s=10)
        assert all(task.cancelled() for task in tasks)

    with structlog.testing.capture_logs() as logs:
        run_virtually(scenario())
    assert logs == []


def test_a_task_that_cannot_be_ended_is_named() -> None:
    """The wait is bounded, and its error names the task."""

    async def scenario() -> None:
        task = asyncio.create_task(deaf(100), name="jobs")
        await asyncio.sleep(0)
        await end([task], patience_s=10)
        assert asyncio.get_running_loop().time() <= 11
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)

    with structlog.testing.capture_logs() as logs:
        run_virtually(scenario())
    assert [(line["log_level"], line["tasks"]) for line in logs] == [("error", ["jobs"])]


@pytest.mark.parametrize("num_swallowed", [0, 1, 3])
def test_a_cancelled_group_ends_its_deaf_members(num_swallowed: int) -> None:
    """A group that is cancelled once has no task left when it ends, and ends as cancelled."""

    async def scenario() -> None:
        group = asyncio.create_task(run_together(deaf(0), deaf(num_swallowed)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        group.cancel()
        await asyncio.wait([group])
        assert group.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtually(scenario())


def test_one_that_fails_ends_the_others() -> None:
    """The group raises what the first to fail raised, when the others have ended."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise LookupError("gone")

    async def scenario() -> None:
        with pytest.raises(LookupError, match="gone"):
            await run_together(deaf(1), fail())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtually(scenario())


def test_tasks_are_started_and_ended_by_key() -> None:
    """Ending one leaves the others; when the owner is cancelled, all have ended."""

    async def scenario() -> None:
        tasks = KeyedTasks[str]()
        running = asyncio.create_task(tasks.run())
        alive: set[str] = set()

        async def live(name: str) -> None:
            alive.add(name)
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.5)
                alive.discard(name)

        for name in ("a", "b"):
            tasks.start(name, live(name), name=name)
        await asyncio.sleep(0)
        await tasks.end("a")
        await tasks.end("a")
        assert alive == {"b"}
        tasks.start("a", live("a"), name="a")
        await asyncio.sleep(0)
        assert alive == {"a", "b"}
        running.cancel()
        await asyncio.wait([running])
        assert alive == set()

    run_virtually(scenario())


def test_the_owner_of_tasks_fails_with_the_first_that_fails() -> None:
    """The others have ended then; a task that ends by itself changes nothing."""

    async def scenario() -> None:
        tasks = KeyedTasks[str]()

        async def fail() -> None:
            await asyncio.sleep(5)
            raise ValueError("broken")

        other = asyncio.Event()
        tasks.start("short", asyncio.sleep(1), name="short")
        tasks.start("other", _note_end(other), name="other")
        tasks.start("broken", fail(), name="broken")
        with pytest.raises(ValueError, match="broken"):
            await tasks.run()
        assert other.is_set()

    run_virtually(scenario())


async def _note_end(ended: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


def test_an_error_of_one_of_several_leaves_no_cycle() -> None:
    """It is freed when it has been handled, and does not wait for the garbage collector."""

    async def fail() -> None:
        raise ZeroDivisionError

    async def scenario() -> list[object]:
        with left_to_collector() as left:
            with suppress(ZeroDivisionError):
                await all_of([asyncio.sleep(0), fail(), fail()])
            await asyncio.sleep(0)
        return [one for one in left if isinstance(one, BaseException)]

    assert run_virtually(scenario()) == []
