"""A gateway without descriptors says so, until some time after they are back."""

import asyncio
import errno
import os
from typing import Any

import pytest

from hedgerow.common.machine.shortage import HOLD_S
from hedgerow.gateway.operations.own_shortages import OwnShortages


class Process:
    """A gateway whose files can be opened unless `lack` says why not."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lack: OSError | None = None
        self.shortages = OwnShortages(
            0.5,
            now=lambda: self.now,
            now_ms=lambda: round(self.now * 1000),
            probe=lambda: self.lack,
        )

    def told(self) -> list[tuple[str, str, str]]:
        """What runs out, as the status says it."""
        return [(one.resource, one.state, one.detail) for one in self.shortages.list()]


def of(number: int) -> OSError:
    """The error of a system call."""
    return OSError(number, os.strerror(number))


async def handle(process: Process, error: Exception | None) -> list[dict[str, Any]]:
    """Report an error as the loop does; returns what reaches its default handler."""
    unhandled: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "default_exception_handler", unhandled.append)
        loop.set_exception_handler(process.shortages.on_loop_error)
        loop.call_exception_handler({"message": "said", "exception": error})
    loop.set_exception_handler(None)
    return unhandled


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_a_connection_that_cannot_be_accepted_is_a_shortage(number: int) -> None:
    """It begins with the first failure, lasts for a while after the last, and then ends."""
    process = Process()
    assert await handle(process, of(number)) == []
    detail = f"a connection could not be accepted: {os.strerror(number)}"
    assert process.told() == [("descriptors", "low", detail)]
    process.now += HOLD_S - 1
    assert await handle(process, of(number)) == []
    process.now += HOLD_S - 1
    process.shortages.look()
    assert process.told()
    process.now += 1
    process.shortages.look()
    assert process.told() == []


def test_files_that_cannot_be_opened_are_a_shortage_while_that_lasts() -> None:
    """A look finds it without any connection, and the time of its beginning stays."""
    process = Process()
    process.shortages.look()
    assert process.told() == []
    process.lack = of(errno.EMFILE)
    for _ in range(100):
        process.now += 0.5
        process.shortages.look()
        (shortage,) = process.shortages.list()
        assert shortage.since_ms == 100_500
    process.lack = None
    process.now += HOLD_S
    process.shortages.look()
    assert process.told() == []


@pytest.mark.parametrize("error", [of(errno.ENOBUFS), ValueError("no"), MemoryError(), None])
async def test_other_errors_of_the_loop_are_left_to_it(error: Exception | None) -> None:
    """They are logged as ever, and are no shortage."""
    process = Process()
    assert await handle(process, error) == [{"message": "said", "exception": error}]
    assert process.told() == []
