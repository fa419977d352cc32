"""How one shard's part of a query ended; answers are built from it, and policies learn from it."""

from typing import Any

import msgspec

from hedgerow.common.outcome import Outcome
from hedgerow.common.wire.messages import Reply

ENOUGH = "enough"  # a `ShardResult.code`: enough of the documents was covered without this shard
NO_TIME = "no_time"  # a `ShardResult.code`: the caller's deadline was too short for any shard


class ShardResult(msgspec.Struct, frozen=True, gc=False):
    """How one shard's part ended.

    Attributes:
        body: the unpacked body of the reply; None unless the outcome is ok.
        code: the failure's code if the worker named one, or `NO_TIME` or `ENOUGH`; otherwise "".
        reply: the reply's timings; None if none came in time.
        took_s: time from the scatter to the end of this part, in s.
    """

    outcome: Outcome
    reason: str
    code: str
    body: Any
    reply: Reply | None
    worker: str
    took_s: float
