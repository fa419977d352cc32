"""Asks chosen shards by the gateway's scatter and gather, without the rest of a query."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

from hedgerow.common.outcome import Outcome
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.settings import Settings
from hedgerow.common.wire.messages import (
    Kind,
    Request,
    SearchPayload,
    pack_body,
    pack_request,
    unpack_search_body,
)
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.transport.redis import RedisTransport
from lab.cluster import COLLECTION

_START_TIMEOUT_S = 10.0


class Shards:
    """The shards of a cluster, asked one or many at a time."""

    def __init__(self, transport: RedisTransport, uid: str) -> None:
        """Ask over `transport` for the collection of that id."""
        self._transport = transport
        self._uid = uid
        self._ids = itertools.count(1)

    @classmethod
    @asynccontextmanager
    async def of(cls, gateway: Gateway) -> AsyncIterator[Self]:
        """The shards of a gateway's cluster, over separate connections."""
        settings: Settings = gateway.settings
        keys = Keys.of(settings.redis)
        transport = RedisTransport(settings.redis, settings.limits, keys, f"{gateway.id}-lab")
        await transport.start(_START_TIMEOUT_S)
        try:
            yield cls(transport, gateway.collections.get(COLLECTION).uid)
        finally:
            await transport.close()

    async def ask(
        self, shards: Sequence[int], query: str, profile: str, timeout_s: float
    ) -> Gather:
        """Scatter a query to `shards`, and gather until all have ended or the time is up."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        gather = Gather(shards, unpack_search_body)
        request = self._request(query, profile, deadline)
        message = pack_request(request)
        gather.sent(
            self._transport.scatter(Kind.SEARCH, request.query_id, tuple(shards), message, gather)
        )
        try:
            await gather.wait(deadline)
        finally:
            self._transport.release(request.query_id)
            gather.end(Outcome.CANCELLED, "the caller has left")
        return gather

    def _request(self, query: str, profile: str, deadline: float) -> Request:
        clock, now = self._transport.clock, asyncio.get_running_loop().time()
        payload = SearchPayload(self._uid, query, 10, profile, "", False)
        return Request(
            Kind.SEARCH,
            next(self._ids),
            clock.server_us(deadline) // 1000,
            clock.server_us(now),
            self._transport.reply_to,
            pack_body(payload),
        )
