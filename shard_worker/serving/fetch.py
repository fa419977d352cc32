"""Fetches: reads the winners' documents from the store, and enriches them, in threads."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

import msgspec
import structlog

from hedgerow.common.errors import (
    ExpiredEnd,
    ExpiredError,
    FailureCode,
    LaneUnavailableError,
    ProfileBusyError,
    WireError,
    WorkError,
)
from hedgerow.common.observability.span import Attribute
from hedgerow.common.observability.telemetry import Throttle
from hedgerow.common.observability.tracing import Tracing
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.wire.messages import (
    Failure,
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
from hedgerow.common.wire.trace_context import TraceContext
from hedgerow.shard_worker.executors.error_text import error_line
from hedgerow.shard_worker.executors.thread_pool.batched_threads import BatchedThreads
from hedgerow.shard_worker.executors.thread_pool.threads import Spent, ThreadLane
from hedgerow.shard_worker.serving.enriching import Enrich, Enriching
from hedgerow.shard_worker.serving.in_flight import Key
from hedgerow.shard_worker.serving.intake import Intake, Records
from hedgerow.shard_worker.serving.pull_policy import Pulled
from hedgerow.shard_worker.serving.reading import Stores, read_body
from hedgerow.shard_worker.serving.turn import Turn
from hedgerow.shard_worker.serving.work_accounting import End
from hedgerow.shard_worker.storage.picking import pick_of

log = structlog.get_logger()

# In Python 3.11, looking up an enum's member takes five times as long as a global.
_FETCH: Final = Kind.FETCH.value
_OK: Final = Status.OK.value
_FAILED: Final = Status.FAILED.value
_THREAD: Final = Lane.THREAD.value
_ANSWERED: Final = End.ANSWERED.value
_UNUSED: Final = End.UNUSED.value

# Most bytes of documents, as JSON, that are being enriched or wait for it; a fetch that would
# exceed it is answered with the stored fields.
MOST_HELD_BYTES = 67_108_864
ENRICH_SHARE = 0.9  # of the time left; the rest is for the stored fields, if enrich is late


class FetchLanes(NamedTuple):
    """Where a fetch runs: users' functions have other threads than reading."""

    reading: BatchedThreads
    enriching: ThreadLane


class FetchRequest(msgspec.Struct, frozen=True):
    """A fetch as it was read; a struct, which is made in a third of a named tuple's time."""

    request: Request
    payload: FetchPayload


class FetchService:
    """Answers the fetch requests of this worker's shards.

    Reading and enriching are two calls, each in a lane of its own. If `enrich` hangs, the stored
    fields are still sent, and other documents can still be read.

    Documents stay in the JSON that they are stored as, and their size is checked before they are
    read. Documents for which a reply has no room are left out, the lowest-ranked first.
    """

    def __init__(
        self,
        lanes: FetchLanes,
        turn: Turn,
        stores: Stores,
        enrichers: Mapping[str, Enrich],
        records: Records,
        intake: Intake,
        limits: LimitSettings,
        tracing: Tracing | None = None,
    ) -> None:
        """Answer fetches.

        Args:
            lanes: where documents are read, and where `enrich` runs.
            turn: sends the replies.
            stores: the documents.
            enrichers: the profiles' hooks by profile; may change between two fetches.
            records: where requests are recorded.
            intake: sorts out what was pulled.
            limits: max_fetch_bytes, max_document_bytes and max_enrich_bytes apply.
            tracing: makes spans of `enrich`; None while tracing is off.
        """
        self._lanes = lanes
        self._turn = turn
        self._stores = stores
        self._enrichers = enrichers
        self._clock, self._in_flight, self._accounting, self._counters = records
        self._intake = intake
        # Any document that could be stored can be read.
        self._max_fetch_bytes = max(limits.max_fetch_bytes, limits.max_document_bytes)
        self._max_enrich_bytes = limits.max_enrich_bytes
        self._tracing = tracing
        self._held_bytes = 0
        self._throttle = Throttle(60.0)
        self._tasks: set[asyncio.Task[None]] = set()  # the requests in flight

    def handle(self, pulled: list[Pulled]) -> None:
        """Start the requests of one pull."""
        self._intake.take(self, pulled)

    @staticmethod
    def read(message: bytes, max_bytes: int) -> FetchRequest:
        """See `Service.read`."""
        request = unpack_request(message, max_bytes)
        if request.kind != _FETCH:
            raise WireError(f"kind {request.kind} does not belong in a fetch queue")
        return FetchRequest(request, unpack_fetch_payload(request.payload))

    def start(
        self,
        shard: int,
        read: FetchRequest,
        _now: float,
        queue_us: int,
        _is_shared: bool,
    ) -> None:
        """See `Service.start`."""
        request = read.request
        task = asyncio.create_task(self._answer(shard, request, read.payload, queue_us))
        key = (request.reply_to, request.query_id, shard)
        self._in_flight.begin(key, task.cancel)
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, key))

    def _end(self, key: Key, task: asyncio.Task[None]) -> None:
        self._in_flight.end(key)
        self._tasks.discard(task)

    async def drain(self, timeout_s: float) -> None:
        """Wait for the fetches in flight, for at most `timeout_s`; then cancel the rest."""
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
        enrich = self._enrichers.get(payload.profile)
        is_enriched = enrich is not None

        def read() -> tuple[Enriching | None, bytes]:
            started_at.append(time.monotonic())
            pick = pick_of(payload.fields, payload.vectors)
            read = read_body(
                self._stores,
                shard,
                payload,
                None if is_enriched else pick,
                self._max_fetch_bytes,
                lambda: deadline - time.monotonic(),
            )
            if not is_enriched or not any(isinstance(one, bytes) for one in read.documents):
                return None, pack_body(read)
            limits = (self._max_enrich_bytes, self._max_fetch_bytes)
            return Enriching(read, pick, *limits), b""

        try:
            enriching, body = await self._lanes.reading.run(read, deadline - pulled_at, spent)
            if enriching is not None and enrich is not None:
                run = self._traced(shard, request, payload.profile, enriching, enrich, started_at)
                body = await self._enrich(payload.profile, enriching, run, deadline, spent)
            status = _OK
        except ExpiredError as error:
            self._counters.add("expired_in_lane")
            # A call that has started is counted by its thread, when it returns.
            if error.end is ExpiredEnd.DROPPED:
                self._accounting.add(End.DROPPED.value, 0, 0)
            return
        except WorkError as error:
            status, body = _FAILED, pack_body(Failure(error.code, error_line(error)))
            self._counters.add(f"failed_{error.code}")
        except Exception as error:
            # From SQLite, or because no thread could be started: the caller has to know.
            log.exception("fetch_failed", shard=shard)
            reason = f"reading failed: {error_line(error)}"
            status, body = _FAILED, pack_body(Failure(FailureCode.FAILED, reason))
        now = time.monotonic()
        start = started_at[0] if started_at else now
        work_us = int((now - start) * 1e6)
        # Without an `enrich` that is late, which its thread counts when it returns.
        costs_us = (int(spent.ran_s * 1e6), int(spent.cpu_s * 1e6))
        if now >= deadline:
            self._counters.add("expired_at_reply")
            self._accounting.add(_UNUSED, *costs_us)
            return
        self._accounting.add(_ANSWERED, *costs_us)
        self._turn.reply(
            request.reply_to,
            Reply(
                request.query_id,
                shard,
                status,
                _THREAD,
                queue_us,
                int((start - pulled_at) * 1e6),
                work_us,
                body,
                is_hedge=request.hedge is not None,
            ),
        )

    async def _enrich(
        self,
        profile: str,
        enriching: Enriching,
        run: Callable[[], bytes],
        deadline: float,
        spent: Spent,
    ) -> bytes:
        """The packed body with the enriched documents, or with the stored ones and the reason."""
        num_bytes = enriching.num_bytes
        if self._held_bytes + num_bytes > MOST_HELD_BYTES:
            self._counters.add("enrich_refused")
            problem = f"enrich was not started: {self._held_bytes} bytes wait for it already"
            return enriching.packed(problem)
        self._held_bytes += num_bytes
        try:
            return await self._enrich_held(profile, enriching, run, deadline, spent)
        finally:
            self._held_bytes -= num_bytes

    def _traced(
        self,
        shard: int,
        request: Request,
        profile: str,
        enriching: Enriching,
        enrich: Enrich,
        started_at: list[float],
    ) -> Callable[[], bytes]:
        """What a thread is to run: `enrich`, in a span of its own if the fetch is traced."""
        tracing = self._tracing
        context = None if request.trace is None else TraceContext.unpack(request.trace)

        def run() -> bytes:
            if context is None or tracing is None:
                enriching.run(enrich)
                return enriching.packed(enriching.problem)
            began = time.monotonic()
            attributes: dict[str, Attribute] = {
                "hedgerow.shard": shard,
                "hedgerow.rank_profile": profile,
            }
            with tracing.users_span("enrich", context.of_shard(shard), attributes):
                enriching.run(enrich)
            took_us = int((time.monotonic() - began) * 1e6)
            after_us = int((began - started_at[0]) * 1e6)
            return enriching.packed(
                enriching.problem, took_us=None if context.is_sampled else (after_us, took_us)
            )

        return run

    async def _enrich_held(
        self,
        profile: str,
        enriching: Enriching,
        run: Callable[[], bytes],
        deadline: float,
        spent: Spent,
    ) -> bytes:
        is_late = False
        try:
            timeout_s = (deadline - time.monotonic()) * ENRICH_SHARE
            return await self._lanes.enriching.run(run, timeout_s, spent, profile)
        except ExpiredError as error:
            self._counters.add("enrich_late")
            is_late = True
            problem = "enrich did not return in time"
            if error.end is ExpiredEnd.DROPPED:
                problem = "enrich was not started in time, for other calls of it"
        except (LaneUnavailableError, ProfileBusyError) as error:
            self._counters.add("enrich_refused")
            problem = f"enrich was not started: {error_line(error)}"
        except Exception as error:
            self._counters.add("enrich_failed")
            if self._throttle.allows("enrich", time.monotonic()):
                log.exception("enrich_failed", profile=profile)
            problem = f"enrich failed: {error_line(error)}"
        return enriching.packed(problem, is_late=is_late)
