"""Writes wait while a split changes over, but not for ever."""

import asyncio

import pytest

from hedgerow.common.errors import SealedError
from hedgerow.gateway.writes.write_gate import LONGEST_S, WriteGate
from tests.support.virtual_time import run_virtually


def test_writes_wait_until_the_gate_opens() -> None:
    """All of them go on then; while it is open, none waits."""

    async def scenario() -> None:
        gate = WriteGate()
        await gate.wait()
        gate.set(is_open=False)
        waiting = [asyncio.create_task(gate.wait()) for _ in range(3)]
        await asyncio.sleep(5.0)
        assert not any(task.done() for task in waiting)
        gate.set(is_open=True)
        await asyncio.gather(*waiting)

    run_virtually(scenario())


def test_a_write_that_has_waited_too_long_is_refused() -> None:
    """With an error that says why, and when to try again."""

    async def scenario() -> None:
        gate = WriteGate()
        gate.set(is_open=False)
        with pytest.raises(SealedError) as refused:
            await gate.wait()
        assert refused.value.retry_after_s == 1.0
        assert asyncio.get_running_loop().time() == pytest.approx(LONGEST_S)

    run_virtually(scenario())


def test_a_sealed_log_is_tried_again_for_a_while() -> None:
    """A gateway that never learns why a log is sealed gives up in the end."""

    async def scenario() -> None:
        gate = WriteGate()

        async def go_on() -> None:
            while True:
                await gate.refused()

        with pytest.raises(SealedError):
            await go_on()
        assert asyncio.get_running_loop().time() == pytest.approx(LONGEST_S, abs=0.1)

    run_virtually(scenario())
