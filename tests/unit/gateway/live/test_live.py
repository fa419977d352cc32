"""The stream and its viewers, in virtual time."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hedgerow.common.errors import OverloadedError
from hedgerow.gateway.live import viewers as limits
from hedgerow.gateway.live.changes import Cluster
from hedgerow.gateway.live.journal import Journal
from hedgerow.gateway.live.live import Live
from hedgerow.gateway.live.viewers import Viewer
from tests.support.fake_gateway import EMPTY_STATUS, make_live
from tests.support.virtual_time import run_virtually


class Script:
    """A cluster whose status is counted."""

    def __init__(self, max_viewers: int = 20) -> None:
        self.journal = Journal(lambda: 7)
        self.live = make_live(self.journal, max_viewers, self.status)
        self.num_statuses = 0
        self.error: Exception | None = None

    async def status(self) -> dict[str, Any]:
        """Count it, or fail."""
        self.num_statuses += 1
        if self.error is not None:
            raise self.error
        return EMPTY_STATUS


@asynccontextmanager
async def running(live: Live) -> AsyncIterator[None]:
    """Let it run during the block."""
    task = asyncio.create_task(live.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def names(data: bytes) -> list[str]:
    """The names of the messages in a piece of the stream."""
    return [line[7:].decode() for line in data.split(b"\n") if line.startswith(b"event: ")]


async def watched(viewer: Viewer, for_s: float) -> list[str]:
    """The names of the messages that a viewer gets in some time."""
    found: list[str] = []

    async def take() -> None:
        while data := await viewer.take():
            found.extend(names(data))

    task = asyncio.create_task(take())
    await asyncio.sleep(for_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return found


def test_a_viewer_gets_the_history_and_then_what_happens() -> None:
    """First the last minutes, a status at once, and every second a point and a status."""

    async def scenario() -> None:
        script = Script()
        async with running(script.live):
            await asyncio.sleep(3.5)
            viewer = script.live.open()
            found = await watched(viewer, 3.0)
        first, *rest = found
        assert first == "history"
        assert rest[0] == "status"
        assert rest.count("point") == 3
        assert 3 <= rest.count("status") <= 4

    run_virtually(scenario())


def test_the_history_shows_the_time_without_viewers() -> None:
    """A page that has just been opened has a point for each second since the start."""

    async def scenario() -> None:
        script = Script()
        async with running(script.live):
            await asyncio.sleep(10.5)
            script.journal.write("redis", "info", "something")
            viewer = script.live.open()
            data = await viewer.take()
            history = json.loads(data.split(b"data: ")[1].split(b"\n")[0])
        assert len(history["points"]) == 10
        assert [event["text"] for event in history["events"]] == ["something"]
        assert (history["gateway"], history["period_s"]) == ("g", 1.0)

    run_virtually(scenario())


def test_statuses_are_made_only_while_there_are_viewers_and_once_for_all() -> None:
    """Without a viewer none is made; ten viewers cost as many as one."""

    async def scenario() -> None:
        script = Script()
        async with running(script.live):
            await asyncio.sleep(5)
            assert script.num_statuses == 0
            viewers = [script.live.open() for _ in range(10)]
            tasks = [asyncio.create_task(watched(viewer, 5.0)) for viewer in viewers]
            for found in await asyncio.gather(*tasks):
                assert "status" in found
            assert 4 <= script.num_statuses <= 7
            for viewer in viewers:
                script.live.leave(viewer)
            await asyncio.sleep(1.5)
            made = script.num_statuses
            await asyncio.sleep(10)
            assert script.num_statuses == made

    run_virtually(scenario())


def test_an_event_is_sent_at_once_with_a_status_after_it() -> None:
    """Both are sent before the next second; a storm of events makes no storm of statuses."""

    async def scenario() -> None:
        script = Script()
        async with running(script.live):
            viewer = script.live.open()
            await watched(viewer, 0.5)
            script.journal.write("breaker", "bad", "opened")
            assert await watched(viewer, 0.05) == ["event", "status"]
            before = script.num_statuses
            for number in range(100):
                script.journal.write("breaker", "bad", str(number))
            assert (await watched(viewer, 1.0)).count("event") == 100
            assert script.num_statuses - before <= 4

    run_virtually(scenario())


def test_the_number_of_viewers_is_bounded() -> None:
    """One more is refused, with the cause; one that leaves makes room."""

    async def scenario() -> None:
        script = Script(max_viewers=2)
        first, _ = script.live.open(), script.live.open()
        with pytest.raises(OverloadedError, match=r"gateway\.max_viewers") as caught:
            script.live.open()
        assert caught.value.cause == "viewers"
        script.live.leave(first)
        script.live.open()

    run_virtually(scenario())


def test_one_caller_s_viewers_do_not_keep_others_out() -> None:
    """Its oldest makes room for another caller, but not for one that has nearly as many."""

    async def scenario() -> None:
        script = Script(max_viewers=4)
        many = []
        for _ in range(4):
            many.append(script.live.open(None, "hog"))
            await asyncio.sleep(1.0)
        with pytest.raises(OverloadedError):
            script.live.open(None, "hog")
        first = script.live.open("other", "other")
        assert [viewer.is_open for viewer in many] == [False, True, True, True]
        second = script.live.open("other", "other")
        assert [viewer.is_open for viewer in many] == [False, False, True, True]
        with pytest.raises(OverloadedError):
            script.live.open("other", "other")
        assert first.is_open
        assert second.is_open

    run_virtually(scenario())


def test_a_slow_viewer_is_dropped_and_nothing_is_kept_for_it() -> None:
    """It loses its place after some seconds, while a viewer that reads stays."""

    async def scenario() -> None:
        script = Script(max_viewers=2)
        async with running(script.live):
            slow, quick = script.live.open(), script.live.open()
            await watched(quick, limits.MAX_BEHIND_S + 2.5)
            assert not slow.is_open
            assert quick.is_open
            assert len(slow._waiting) == 0
            script.live.open()

    run_virtually(scenario())


def test_a_viewer_with_too_many_messages_is_dropped() -> None:
    """A storm of events is not kept for a viewer that does not take it."""

    async def scenario() -> None:
        script = Script()
        viewer = script.live.open()
        for number in range(limits.MAX_WAITING + 1):
            script.journal.write("redis", "info", str(number))
        assert not viewer.is_open

    run_virtually(scenario())


def test_streams_end_when_their_key_is_revoked_when_they_are_old_and_at_the_drain() -> None:
    """A stream that begins after the drain ends at once, with the history."""

    async def scenario() -> None:
        script = Script()
        async with running(script.live):
            kept, revoked = script.live.open("a"), script.live.open("b")
            anonymous = script.live.open()
            script.live.keep_keys(["a"])
            assert [one.is_open for one in (kept, revoked, anonymous)] == [True, False, True]
            watching = asyncio.create_task(watched(kept, limits.MAX_AGE_S + 2))
            await asyncio.sleep(limits.MAX_AGE_S - 2)
            assert kept.is_open
            await watching
            assert not kept.is_open
            last = script.live.open()
            script.live.close()
            assert not last.is_open
            late = script.live.open()
            assert names(await late.take())[0] == "history"
            assert await late.take() == b""

    run_virtually(scenario())


def test_a_status_that_fails_does_not_end_the_stream() -> None:
    """Points go on, and so do statuses once they can be made again."""

    async def scenario() -> None:
        script = Script()
        script.error = ValueError("what another program stored")
        async with running(script.live):
            viewer = script.live.open()
            found = await watched(viewer, 2.5)
            assert "status" not in found
            assert found.count("point") == 2
            script.error = None
            assert "status" in await watched(viewer, 2.0)

    run_virtually(scenario())


def test_a_look_that_fails_does_not_end_the_gateway() -> None:
    """What another program has stored may be anything; the history goes on."""

    async def scenario() -> None:
        def fail() -> Cluster:
            raise KeyError("state")

        live = make_live(cluster=fail)
        async with running(live):
            viewer = live.open()
            assert (await watched(viewer, 2.5)).count("point") == 2
            live.look()

    run_virtually(scenario())
