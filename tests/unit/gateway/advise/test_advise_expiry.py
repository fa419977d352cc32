"""Whether a call stops when told to, as measured on a busy machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hedgerow.gateway.advise import experiments
from hedgerow.gateway.advise.blocks import Block, timed
from hedgerow.gateway.advise.target import Target


class Sleeper:
    """An async function that sleeps for 0.2 s."""

    subject = SimpleNamespace(is_async=True, takes_budget=False)
    calls = (SimpleNamespace(fresh=lambda: None),)
    has_checked_budget = False


@pytest.mark.parametrize(("cut_ms", "share"), [(100, 0.5), (200, 1.0)])
@pytest.mark.parametrize("waits_ms", [(0, 0), (0, 90), (90, 0), (300, 500)])
def test_waits_for_a_core_are_no_part_of_a_call(
    monkeypatch: pytest.MonkeyPatch, cut_ms: int, share: float, waits_ms: tuple[int, int]
) -> None:
    """However long a call that sleeps waits when it wakes, half a sleep is half of a call."""
    times = iter([(200, waits_ms[0]), (cut_ms, waits_ms[1])])
    told_after_s: list[float] = []

    @contextmanager
    def measured(block: Block) -> Iterator[None]:
        yield
        asleep_ms, waited_ms = next(times)
        block.ended = block.began + (asleep_ms + waited_ms) / 1000
        block.own_queued_s = waited_ms / 1000
        block.own_cpu_s = block.cpu_s = 0.001

    async def cancel(_target: Target, _given: object, after_s: float) -> None:
        told_after_s.append(after_s)

    monkeypatch.setattr(experiments, "timed", measured)
    monkeypatch.setattr(experiments, "result_of", lambda *_: None)
    monkeypatch.setattr(experiments, "_cancel", cancel)
    found: dict[str, Any] = experiments.expiry(cast("Target", Sleeper()), 1, 1, 9.0)
    assert told_after_s == [pytest.approx(0.1)]
    assert found["done_share"] == pytest.approx(share)
    assert found["overrun_s"] == pytest.approx((cut_ms - 100) / 1000)


def test_a_block_has_the_waits_of_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other threads, which may be at the same time, are in the sum of all only."""
    waits = {"*": 5.0, "own": 1.0}
    monkeypatch.setattr(
        "hedgerow.gateway.advise.blocks.queued_s",
        lambda task="*": waits["*"] if task == "*" else waits["own"],
    )
    block = Block()
    with timed(block):
        waits |= {"*": 8.0, "own": 1.5}
    assert (block.queued_s, block.own_queued_s) == (3.0, 0.5)
