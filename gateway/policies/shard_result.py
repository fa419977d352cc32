"""How one shard's part of a query ended, for the answer and for the policies."""

from typing import Any

import msgspec

from hedgerow.common.outcome import Outcome
from hedgerow.common.wire.messages import Reply

# Values of `ShardResult.code`
ENOUGH = "enough"  # the wanted share of the documents was covered without this shard
NO_TIME = "no_time"  # the caller's deadline was too short for any shard


class ShardResult(msgspec.Struct, frozen=True, gc=False):
    """How one shard's part ended.

    Attributes:
        body: the reply's body as unpacked; None unless the outcome is ok.
        code: the worker's code for the failure, `NO_TIME` or `ENOUGH`; else "".
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
