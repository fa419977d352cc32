"""What is said of a start that takes long."""

import asyncio
from typing import cast

import pytest

from hedgerow.common.errors import UnavailableError
from hedgerow.gateway.local.processes.start_watch import SLOW_S, StartWatch, Waiting
from hedgerow.gateway.local.processes.supervisor import Supervisor
from tests.support.virtual_time import run_virtually

NONE = cast("Supervisor", None)


def test_a_slow_start_says_what_it_waits_for() -> None:
    """Nothing at first; then once, and again when that has changed."""
    told = list[tuple[float, str]]()

    async def start() -> None:
        loop = asyncio.get_running_loop()

        def tell(waiting: Waiting) -> None:
            told.append((round(loop.time()), waiting.what))

        async def missing() -> str:
            now = loop.time()
            return "" if now >= 3 * SLOW_S else "a" if now < 2 * SLOW_S else "b"

        await StartWatch(NONE, None, 60.0, tell).wait_until_there("the workers", missing)

    run_virtually(start())
    assert told == [(SLOW_S, "a"), (2 * SLOW_S, "b")]


def test_a_start_that_takes_too_long_says_what_is_missing() -> None:
    """The last that was waited for is named, with its reason."""

    async def start() -> None:
        async def missing() -> str:
            return "worker-1 (no snapshot)"

        await StartWatch(NONE, None, 60.0).wait_until_there("the workers", missing)

    with pytest.raises(UnavailableError, match=r"60 s there is no sign of worker-1 \(no snapshot"):
        run_virtually(start())
