"""What a gateway does about steps of a copy that were set aside."""

from collections.abc import Mapping
from typing import Any, cast

from hedgerow.common.state.reindexing import ReindexStore
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.reindexing.driver import NOT_APPLIED, ReindexDriver
from hedgerow.gateway.reindexing.view import ReindexView
from tests.unit.gateway.reindexing.test_policy import BEGUN


class Workers:
    """A view of one worker, whose replica of shard 0 has applied its log up to an entry."""

    def __init__(self, applied: str, number: int) -> None:
        report = [number, False, False, 9, 3, 0, []]
        beat = Heartbeat(
            id="w0",
            pid=1,
            host="here",
            shards=[0],
            version="1",
            beat_at_ms=0,
            started_at_ms=0,
            applied={0: applied},
            replicas={0: "replica"},
            mirrors={0: {BEGUN.id: report}},
        )
        self.workers: Mapping[str, Heartbeat] = {"w0": beat}


def driver_of(applied: str, number: int) -> ReindexDriver:
    """A driver that has sent step 4 as entry 7-0."""
    nothing = cast("Any", None)
    view = cast("ReindexView", Workers(applied, number))
    store = cast("ReindexStore", None)
    driver = ReindexDriver(store, view, nothing, nothing, nothing, nothing, "g0", 0.5)
    driver._memory.sent[0] = 4, "7-0"
    return driver


def test_a_step_that_was_set_aside_is_tried_with_half_of_its_documents() -> None:
    """The replica has passed its entry without having done it; one document cannot be halved."""
    driver = driver_of("8-0", 3)
    before = driver._memory.pace.of(0)
    assert driver._not_applied(BEGUN) is None
    assert driver._memory.pace.of(0) == before // 2
    driver._memory.pace.halve(0)
    while driver._memory.pace.of(0) > 1:
        driver._memory.pace.halve(0)
    driver._memory.sent[0] = 4, "7-0"
    assert driver._not_applied(BEGUN) == f"shard 0: {NOT_APPLIED}"


def test_a_step_that_waits_or_was_done_stays_as_large() -> None:
    """Its entry has not been reached, or its number has."""
    for applied, number in (("6-0", 3), ("8-0", 4), ("8-0", 9)):
        driver = driver_of(applied, number)
        before = driver._memory.pace.of(0)
        assert driver._not_applied(BEGUN) is None
        assert driver._memory.pace.of(0) == before
        assert driver._next_number(BEGUN, 0) == max(number, 4) + 1
