"""Reads the winners' documents from the shards that own them, after the merge."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from common.outcome import Outcome
from common.server_clock import ServerClock
from common.wire import FetchBody, FetchPayload, Kind, Request, pack_body, pack_request
from common.wire import unpack_fetch_body as unpack
from gateway.gather import NO_TIME, Gather, Settled
from gateway.hedger import Hedger, Watched
from gateway.latency import FetchReserve
from gateway.result import FetchReport, Hit
from gateway.transport import Transport


class Fetcher:
    """The second scatter of a query: only the owners of the top k are asked.

    Attributes:
        hedger: sends second copies of what is late.
        reserve: how much of a deadline to keep for it, learnt from the recent past.
    """

    def __init__(
        self,
        transport: Transport,
        clock: ServerClock,
        reply_to: str,
        next_id: Callable[[], int],
        hedger: Hedger,
    ) -> None:
        """Fetch over `transport`, and have the replies sent to `reply_to`."""
        self.hedger = hedger
        self.reserve = FetchReserve()
        self._transport = transport
        self._clock = clock
        self._reply_to = reply_to
        self._next_id = next_id
        self._loop = asyncio.get_running_loop()

    async def fill(
        self,
        hits: Sequence[Hit],
        uid: str,
        fields: list[str] | None,
        profile: str,
        deadline: float,
    ) -> FetchReport:
        """Set the `fields` of each hit whose document arrives by `deadline`, on the loop's clock.

        Args:
            hits: the winners; those whose fetch fails or is late keep `fields` None.
            uid: the collection's unique id.
            fields: the wanted fields; None for all.
            profile: the rank profile whose `enrich` runs; "" for none.
            deadline: when the query must be answered.
        """
        by_shard: dict[int, list[Hit]] = {}
        for hit in hits:
            by_shard.setdefault(hit.shard, []).append(hit)
        started = self._loop.time()
        wanted = {shard: [hit.id for hit in group] for shard, group in by_shard.items()}
        settled = await self.read(uid, wanted, fields, profile, deadline)
        problems: list[tuple[int, str]] = []
        fetched = 0
        for shard, group in sorted(by_shard.items()):
            part = settled[shard]
            if part.outcome is not Outcome.OK:
                problems.append((shard, part.reason))
                continue
            body: FetchBody = part.body
            if body.enrich_error:
                problems.append((shard, body.enrich_error))
            if len(body.documents) != len(group):
                problems.append((shard, "malformed reply: not as many documents as were asked for"))
                continue
            for hit, document in zip(group, body.documents, strict=True):
                if document is None:
                    problems.append((shard, f"document {hit.id!r} is gone"))
                else:
                    hit.fields = document
                    fetched += 1
        is_late = any(
            part.outcome is Outcome.TIMED_OUT
            or (part.outcome is Outcome.OK and part.body.is_enrich_late)
            for part in settled.values()
        )
        if is_late or all(part.outcome is Outcome.OK for part in settled.values()):
            self.reserve.record(self._loop.time() - started, is_late=is_late)
        return FetchReport(fetched, len(hits) - fetched, tuple(problems))

    async def read(
        self,
        uid: str,
        wanted: dict[int, list[str]],
        fields: list[str] | None,
        profile: str,
        deadline: float,
    ) -> dict[int, Settled]:
        """Ask each shard for its documents.

        Args:
            uid: the collection's unique id.
            wanted: shard → ids that it owns.
            fields: the wanted fields; None for all.
            profile: the rank profile whose `enrich` runs; "" for none.
            deadline: on the loop's clock.

        Returns:
            How each shard's part ended; the bodies are `FetchBody`s.
        """
        now = self._loop.time()
        sent_at_us = self._clock.server_us(now)
        expires_at_ms = self._clock.server_us(deadline) // 1000
        query_id = self._next_id()
        gather = Gather(wanted, unpack)
        try:
            if deadline <= now:  # a request that has expired is not worth sending
                gather.end(Outcome.TIMED_OUT, "the deadline left no time", NO_TIME)
            else:
                sent: list[Watched] = []
                for shard, ids in wanted.items():
                    payload = pack_body(FetchPayload(uid, ids, fields, profile))
                    request = Request(
                        *(Kind.FETCH, query_id, expires_at_ms, sent_at_us, self._reply_to),
                        payload,
                    )
                    message, asked = pack_request(request), (shard,)
                    gather.sent(
                        self._transport.scatter(Kind.FETCH, query_id, asked, message, gather)
                    )
                    sent.append(Watched(gather, asked, request, message, now, deadline))
                gather.look_when(
                    self.hedger.first_look(len(sent), now, deadline), partial(self._look, sent)
                )
                await gather.wait(deadline)
        finally:
            self._transport.release(query_id)
            gather.end(Outcome.CANCELLED, "the caller has left")
            if unwanted := gather.cancelled():
                self._transport.cancel(query_id, unwanted, expires_at_ms)
            self.hedger.learn(gather, self._loop.time())
        return gather.settled

    def _look(self, sent: list[Watched]) -> None:
        for query in sent:
            self.hedger.look(query)
