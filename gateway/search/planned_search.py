"""The record of an admitted and planned search that the later steps pass along."""

import msgspec

from hedgerow.common.wire.messages import SearchPayload
from hedgerow.gateway.policies.admission_permit import AdmissionPermit
from hedgerow.gateway.search.plan import Plan
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.validation import Admitted
from hedgerow.gateway.search.walk import SearchTrace


class PlannedSearch(msgspec.Struct, frozen=True, gc=False):
    """What is asked, which shards are asked, and by when they must reply.

    Attributes:
        query: the caller's query.
        admitted: the result of its validation: rank profile, cost, warnings.
        permit: admission control's permit.
        plan: which shards are asked.
        payload: what each of them is asked for; `payload.k` hits may be fewer than `query.k`.
        is_heavy: whether a scorer may take long for it (`HeavyWork`).
        started: when the search began, on the event loop's clock.
        deadline: when the merged answer must be ready, on the same clock.
        trace: the trace that it is a part of; None while tracing is off.
    """

    query: SearchQuery
    admitted: Admitted
    permit: AdmissionPermit
    plan: Plan
    payload: SearchPayload
    is_heavy: bool
    started: float
    deadline: float
    trace: SearchTrace | None = None
