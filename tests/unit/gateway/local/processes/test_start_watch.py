"""What is said of a start that takes long."""

import asyncio
from typing import cast

import pytest

from hedgerow.common.errors import UnavailableError
from hedgerow.gateway.local.processes.start_watch import SLOW_S, StartWatch, Waiting
from hedgerow.gateway.local.processes.supervisor import Died, Supervisor
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


@pytest.mark.parametrize(
    ("how", "is_said"), [("was killed by SIGKILL", True), ("ended with exit code 1", False)]
)
def test_a_child_that_the_system_has_killed_may_have_lacked_memory(how: str, is_said: bool) -> None:
    """A container of too little memory kills without a word."""

    async def start() -> None:
        watch = StartWatch(NONE, None, 60.0)
        watch.on_event(Died("gateway", 7, how, 0.5))
        await watch.or_death(asyncio.sleep(1))

    with pytest.raises(UnavailableError, match=f"gateway {how} while starting") as raised:
        run_virtually(start())
    assert ("memory" in str(raised.value)) == is_said


def test_a_start_that_takes_too_long_says_what_is_missing() -> None:
    """The last that was waited for is named, with its reason."""

    async def start() -> None:
        async def missing() -> str:
            return "worker-1 (no snapshot)"

        await StartWatch(NONE, None, 60.0).wait_until_there("the workers", missing)

    with pytest.raises(UnavailableError, match=r"60 s there is no sign of worker-1 \(no snapshot"):
        run_virtually(start())
