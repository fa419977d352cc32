"""How each shard's part of a search or a fetch has gone, by the timings that its reply carries."""

from typing import Final

import msgspec

from hedgerow.common.outcome import Outcome
from hedgerow.common.wire.messages import FetchBody, Lane, SearchBody
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.plan import Plan

_LANE_NAMES: Final = {lane.value: "" if lane is Lane.NONE else lane.name.lower() for lane in Lane}


class ShardPart(msgspec.Struct, frozen=True, gc=False):
    """One shard's part; instants in s on the event loop's clock, times in µs.

    Attributes:
        shard: which.
        outcome: how it ended.
        reason: why, if it is not ok.
        worker: who has replied; "" if none has.
        lane: where the work ran; "" if none has replied.
        started: when the shard was asked.
        took_us: from then to the end of the part.
        queue_us: time in the shard's queue.
        lane_us: wait for a place in the worker's lane.
        work_us: time that the work took.
        hedged_us: from the first copy to the second; 0 if there was none.
        is_hedge: whether the second copy has replied.
        users_us: when the user's function began, from the start of the work, and how long it took;
            None if there was none, or the worker has made a span of it.
    """

    shard: int
    outcome: Outcome
    reason: str
    worker: str
    lane: str
    started: float
    took_us: int
    queue_us: int
    lane_us: int
    work_us: int
    hedged_us: int
    is_hedge: bool
    users_us: tuple[int, int] | None

    @property
    def is_ok(self) -> bool:
        """Whether it is a part of the answer."""
        return self.outcome is Outcome.OK


def parts_of(gather: Gather, plan: Plan | None = None) -> list[ShardPart]:
    """Every shard's part, by shard.

    Args:
        gather: of the shards that were asked.
        plan: has those that were not; None if all of interest were.
    """
    started = gather.started
    parts = []
    for shard, part in gather.results.items():
        reply = part.reply
        took_us = int(part.took_s * 1e6)
        queue_us = lane_us = work_us = 0
        if reply is not None:
            # None reaches past the reply, whatever it says: the queue's time includes the
            # difference of two clocks.
            lane_us = max(0, min(reply.lane_us, took_us))
            work_us = max(0, min(reply.work_us, took_us - lane_us))
            queue_us = max(0, min(reply.queue_us, took_us - lane_us - work_us))
        parts.append(
            ShardPart(
                shard=shard,
                outcome=part.outcome,
                reason=part.reason,
                worker=part.worker,
                lane="" if reply is None else _LANE_NAMES.get(reply.lane, ""),
                started=started,
                took_us=took_us,
                queue_us=queue_us,
                lane_us=lane_us,
                work_us=work_us,
                hedged_us=int(gather.hedged.get(shard, 0.0) * 1e6),
                is_hedge=reply is not None and reply.is_hedge,
                users_us=_users_us(part.body, work_us),
            )
        )
    if plan is not None:
        for shard, (outcome, reason) in plan.not_asked.items():
            parts.append(
                ShardPart(
                    shard,
                    outcome,
                    reason,
                    "",
                    "",
                    started,
                    0,
                    0,
                    0,
                    0,
                    0,
                    is_hedge=False,
                    users_us=None,
                )
            )
    return sorted(parts, key=lambda part: part.shard)


def _users_us(body: object, work_us: int) -> tuple[int, int] | None:
    found = None
    if isinstance(body, SearchBody):
        found = body.second_phase_us
    elif isinstance(body, FetchBody):
        found = body.enrich_us
    if found is None:
        return None
    after_us = min(found[0], work_us)
    return after_us, min(found[1], work_us - after_us)
