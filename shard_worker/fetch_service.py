"""Fetches: reads the winners' documents from the store and enriches them, in the thread lane."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog
from pydantic_core import from_json, to_json

from common.errors import ExpiredError, LaneUnavailableError, WireError, WorkError
from common.server_clock import ServerClock
from common.telemetry import Counters, Throttle
from common.wire import (
    Failure,
    FetchBody,
    FetchPayload,
    Kind,
    Lane,
    Reply,
    Request,
    Status,
    pack_body,
    unpack_fetch_payload,
    unpack_request,
)
from shard_worker.error_text import error_line
from shard_worker.in_flight import InFlight, Key
from shard_worker.lanes.thread_lane import Spent, ThreadLane
from shard_worker.ledger import End, Ledger
from shard_worker.replier import Replier

log = structlog.get_logger()

Document = dict[str, Any]
ReadDocuments = Callable[[int, str, list[str]], list[bytes | None]]
Enrich = Callable[[list[Document]], list[Document]]

ENRICH_SHARE = 0.9  # of the time left; the rest carries the stored fields home when enrich is late


class FetchService:
    """Answers the fetch requests of this worker's shards.

    Reading and enriching are two calls in the thread lane, so that a store that answers and an
    `enrich` that hangs leave the stored fields.
    """

    def __init__(
        self,
        lane: ThreadLane,
        replier: Replier,
        clock: ServerClock,
        read: ReadDocuments,
        enrichers: Mapping[str, Enrich],
        counters: Counters,
        in_flight: InFlight,
        ledger: Ledger,
        hand_over: Callable[[Request], None],
        max_message_bytes: int,
    ) -> None:
        """Read with `read(shard, uid, ids)`; enrich by the profile's function in `enrichers`."""
        self._lane = lane
        self._replier = replier
        self._clock = clock
        self._read = read
        self._enrichers = enrichers
        self._counters = counters
        self._in_flight = in_flight
        self._hand_over = hand_over
        self._ledger = ledger
        self._max_bytes = max_message_bytes
        self._throttle = Throttle(60.0)
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, shard: int, messages: list[bytes]) -> None:
        """Start the work of one pull."""
        now = time.monotonic()
        now_us = self._clock.server_us(now)
        for message in messages:
            try:
                request = unpack_request(message, self._max_bytes)
                if request.kind != Kind.FETCH:
                    raise WireError(f"kind {request.kind} does not belong in a fetch queue")  # noqa: TRY301
                payload = unpack_fetch_payload(request.payload)
            except WireError as error:
                self._counters.add("requests_malformed")
                if self._throttle.allows("malformed", now):
                    log.warning("request_malformed", error=str(error))
                continue
            if request.hedge is not None:
                shard = request.hedge.shard
            if request.expires_at_ms * 1000 <= now_us:
                self._counters.add("expired_at_pull")
                self._ledger.add(End.DROPPED.value, 0, 0)
                continue
            if self._in_flight.is_unwanted(shard, request):
                self._counters.add("cancelled_at_pull")
                self._ledger.add(End.DROPPED.value, 0, 0)
                continue
            if request.hedge is not None and self._in_flight.has(shard, request):
                self._hand_over(request)
                continue
            key = (request.reply_to, request.query_id, shard)
            task = asyncio.create_task(
                self._answer(shard, request, payload, max(0, now_us - request.sent_at_us))
            )
            self._in_flight.begin(key, task.cancel)
            self._tasks.add(task)
            task.add_done_callback(partial(self._end, key))

    def _end(self, key: Key, task: asyncio.Task[None]) -> None:
        self._in_flight.end(key)
        self._tasks.discard(task)

    async def drain(self, timeout_s: float) -> None:
        """Wait for what is in flight, then cancel the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(
        self, shard: int, request: Request, payload: FetchPayload, queue_us: int
    ) -> None:
        pulled_at = time.monotonic()
        deadline = self._clock.monotonic_s(request.expires_at_ms)
        started_at: list[float] = []
        spent = Spent()

        def read() -> tuple[list[Document | None], bytes]:
            started_at.append(time.monotonic())
            stored = self._read(shard, payload.uid, payload.ids)
            documents = [None if body is None else json.loads(body) for body in stored]
            return documents, packed(documents, payload.fields)

        try:
            documents, body = await self._lane.run(read, deadline - pulled_at, spent)
            if payload.profile in self._enrichers and any(documents):
                body = await self._enrich(payload, documents, deadline, spent)
            status = Status.OK
        except ExpiredError as error:
            self._counters.add("expired_in_lane")
            if error.end == End.DROPPED:  # else its thread tells, once the call has returned
                self._ledger.add(End.DROPPED.value, 0, 0)
            return
        except WorkError as error:
            status, body = Status.FAILED, pack_body(Failure(error.code, error_line(error)))
            self._counters.add(f"failed_{error.code}")
        except Exception as error:
            # Whatever it is, from SQLite or for want of a thread: who asked must hear of it.
            log.exception("fetch_failed", shard=shard)
            reason = f"reading failed: {error_line(error)}"
            status, body = Status.FAILED, pack_body(Failure("failed", reason))
        now = time.monotonic()
        start = started_at[0] if started_at else now
        work_us = int((now - start) * 1e6)
        # Without an `enrich` that is late: its thread tells, once it has returned.
        costs_us = (int(spent.ran_s * 1e6), int(spent.cpu_s * 1e6))
        if now >= deadline:
            self._counters.add("expired_at_reply")
            self._ledger.add(End.UNUSED.value, *costs_us)
            return
        self._ledger.add(End.ANSWERED.value, *costs_us)
        self._replier.reply(
            request.reply_to,
            Reply(
                *(request.query_id, shard, status, Lane.THREAD, queue_us),
                *(int((start - pulled_at) * 1e6), work_us, body),
                is_hedge=request.hedge is not None,
            ),
        )

    async def _enrich(
        self,
        payload: FetchPayload,
        documents: list[Document | None],
        deadline: float,
        spent: Spent,
    ) -> bytes:
        """The packed body with what `enrich` makes of the documents, or with why it did not."""
        enrich = self._enrichers[payload.profile]
        found = [(at, document) for at, document in enumerate(documents) if document is not None]

        def run() -> bytes:
            # Copies, since a hung call may still change what it was given after we have answered.
            returned = enrich([dict(document) for _, document in found])
            # As JSON has it, since that is how it leaves the gateway: what it cannot say fails
            # here, where the stored fields are at hand.
            enriched = from_json(to_json(returned), allow_inf_nan=False)
            merged = list(documents)
            for (at, _), document in zip(found, enriched, strict=True):
                merged[at] = document
            return packed(merged, payload.fields)

        try:
            timeout_s = (deadline - time.monotonic()) * ENRICH_SHARE
            return await self._lane.run(run, timeout_s, spent)
        except ExpiredError:
            self._counters.add("enrich_late")
            return packed(documents, payload.fields, "enrich did not return in time", is_late=True)
        except LaneUnavailableError as error:
            problem = f"enrich was not started: {error_line(error)}"
        except Exception as error:
            self._counters.add("enrich_failed")
            if self._throttle.allows("enrich", time.monotonic()):
                log.exception("enrich_failed", profile=payload.profile)
            problem = f"enrich failed: {error_line(error)}"
        return packed(documents, payload.fields, problem)


def packed(
    documents: list[Document | None],
    fields: list[str] | None,
    enrich_error: str = "",
    *,
    is_late: bool = False,
) -> bytes:
    """The packed body that carries the wanted fields of the documents."""
    selected = [select(one, fields) for one in documents]
    return pack_body(FetchBody(selected, enrich_error, is_late))


def select(document: Document | None, fields: list[str] | None) -> Document | None:
    """The wanted fields of a document; all of them when `fields` is None."""
    if document is None or fields is None:
        return document
    return {name: document[name] for name in fields if name in document}
