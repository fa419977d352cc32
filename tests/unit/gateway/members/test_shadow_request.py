"""What one trial says of the worker that it was sent to."""

import asyncio

import pytest

from hedgerow.common.wire.messages import Failure, Lane, Reply, Status, pack_body
from hedgerow.gateway.members.shadow_request import ShadowRequest
from tests.support.virtual_time import run_virtually

TIMEOUT_S = 0.3


def failed(code: str) -> bytes:
    """The body of a failure."""
    return pack_body(Failure(code, "why"))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (Status.OK, b"", True),
        (Status.FAILED, failed("crashed"), False),
        (Status.FAILED, failed("ranking"), None),
        (Status.FAILED, b"\xc1", False),
        (Status.EXPIRED, failed("expired"), False),
    ],
)
def test_a_reply_ends_it_with_the_workers_own_time(
    status: Status, body: bytes, expected: bool | None
) -> None:
    """Time in the queue is not the worker's; a query that is itself at fault says nothing."""

    async def scenario() -> list[tuple[float, bool | None]]:
        ends: list[tuple[float, bool | None]] = []
        trial = ShadowRequest(TIMEOUT_S, lambda took_s, is_ok: ends.append((took_s, is_ok)))
        reply = Reply(1, 0, status, Lane.PROCESS, 900_000, 2_000, 3_000, body)
        trial.on_reply(reply, "w", 0.0)
        trial.on_reply(reply, "w", 0.0)
        trial.on_lost("too late")
        await asyncio.sleep(2 * TIMEOUT_S)
        return ends

    assert run_virtually(scenario()) == [(0.005, expected)]


def test_silence_is_a_failure_after_the_deadline() -> None:
    """Without a reply it ends soon after its time, and says that the worker has not answered."""

    async def scenario() -> list[tuple[float, bool | None]]:
        ends: list[tuple[float, bool | None]] = []
        ShadowRequest(
            TIMEOUT_S, lambda _, is_ok: ends.append((asyncio.get_running_loop().time(), is_ok))
        )
        await asyncio.sleep(2 * TIMEOUT_S)
        return ends

    ((at, is_ok),) = run_virtually(scenario())
    assert is_ok is False
    assert TIMEOUT_S <= at < 1.5 * TIMEOUT_S


@pytest.mark.parametrize("ending", ["unsent", "lost"])
def test_what_was_never_sent_says_nothing(ending: str) -> None:
    """Redis that does not take it, or is away, is no fault of the worker's."""

    async def scenario() -> list[bool | None]:
        ends: list[bool | None] = []
        trial = ShadowRequest(TIMEOUT_S, lambda _, is_ok: ends.append(is_ok))
        if ending == "unsent":
            trial.on_unsent(0, "full")
        else:
            trial.on_lost("away")
        await asyncio.sleep(2 * TIMEOUT_S)
        return ends

    assert run_virtually(scenario()) == [None]
