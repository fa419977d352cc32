"""Searches: from a pulled request to its reply, through the lane that its rank profile declares."""

import math
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Final

import structlog

from hedgerow.common.errors import ExpiredError, NotStartedError, WireError, WorkError
from hedgerow.common.observability.telemetry import Counters, Throttle
from hedgerow.common.redis.server_clock import ServerClock
from hedgerow.common.settings.settings import RankProfile
from hedgerow.common.state.quarantine import fingerprint_of
from hedgerow.common.wire.messages import (
    Failure,
    Kind,
    Lane,
    Reply,
    Request,
    SearchPayload,
    Status,
    pack_body,
    unpack_request,
    unpack_search_payload,
)
from hedgerow.shard_worker.executors.bulkhead import OURS
from hedgerow.shard_worker.executors.error_text import error_line
from hedgerow.shard_worker.executors.process_pool.scorer_pool import ScorerPool
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE
from hedgerow.shard_worker.serving.in_flight import InFlight
from hedgerow.shard_worker.serving.replier import Replier
from hedgerow.shard_worker.serving.shard_state import ShardStates
from hedgerow.shard_worker.serving.work_accounting import End, WorkAccounting

log = structlog.get_logger()

LABEL_CHARS = 80

# An enum's member is looked up through a descriptor in Python 3.11: five times a global's price.
_SEARCH: Final = Kind.SEARCH.value
_OK: Final = Status.OK.value
_FAILED: Final = Status.FAILED.value
_LOOP: Final = Lane.LOOP.value
_PROCESS: Final = Lane.PROCESS.value
_ANSWERED: Final = End.ANSWERED.value
_DROPPED: Final = End.DROPPED.value
_LATE: Final = End.LATE.value
_UNUSED: Final = End.UNUSED.value


class SearchService:
    """Answers the search requests of this worker's shards.

    The deadline is checked here when a request is pulled and before its reply leaves, and by the
    process lane before the work is submitted; what has expired is dropped without a reply.
    """

    def __init__(
        self,
        lane: ScorerPool,
        replier: Replier,
        clock: ServerClock,
        states: ShardStates,
        profiles: Mapping[str, RankProfile],
        counters: Counters,
        in_flight: InFlight,
        ledger: WorkAccounting,
        hand_over: Callable[[Request], None],
        give_back: Callable[[int, bytes], None],
        max_message_bytes: int,
    ) -> None:
        """Search through `lane`, but noop in the loop where its profile says so.

        Second copies of what this worker has already go to another through `hand_over`, and to any
        other, through `give_back`, what was pulled and cannot start soon.
        """
        self._hand_over = hand_over
        self._give_back = give_back
        self._in_flight = in_flight
        self._ledger = ledger
        self._lane = lane
        self._replier = replier
        self._clock = clock
        self._states = states
        self._profiles = profiles
        self._counters = counters
        self._max_bytes = max_message_bytes
        self._num_in_loop = 0
        self._throttle = Throttle(60.0)
        # Results of one frame leave as one message, in the very callback that has read them.
        lane.call_after_ends(replier.flush)

    def handle(self, shard: int, messages: list[bytes]) -> None:
        """Start the work of one pop, in arrival order; adds to the replier what is answered now."""
        now = time.monotonic()
        now_us = self._clock.server_us(now)
        is_shared = shard != OWN_QUEUE
        self._num_in_loop = 0
        max_bytes = self._max_bytes
        for message in messages:
            try:
                search = _read(message, max_bytes)
            except WireError as error:
                self._count_malformed(error)
                continue
            request = search.request
            if request.hedge is not None:
                shard = request.hedge.shard
            if request.expires_at_ms * 1000 <= now_us:
                self._counters.add("expired_at_pull")
                self._ledger.add(_DROPPED, 0, 0)
                continue
            if self._in_flight.is_unwanted(shard, request):
                self._counters.add("cancelled_at_pull")
                self._ledger.add(_DROPPED, 0, 0)
                continue
            if request.hedge is not None and self._in_flight.has(shard, request):
                self._hand_over(request)
                continue
            self._start(shard, search, is_shared, now, max(0, now_us - request.sent_at_us))
        if num := self._num_in_loop:
            self._lane.observe_elsewhere(num)
            # The loop waits for nothing here: all of the time is CPU.
            took_us = int((time.monotonic() - now) * 1e6)
            self._ledger.add(_ANSWERED, took_us, took_us, num)

    def spent_share(self, message: bytes, now: float) -> float:
        """Of the time from a packed request's sending to its expiry, how much it has spent.

        Args:
            message: as it lies in a queue; one that is malformed counts as new.
            now: an instant of `time.monotonic()`, in s.
        """
        try:
            request = _read(message, self._max_bytes).request
        except WireError:
            return 0.0
        total_us = request.expires_at_ms * 1000 - request.sent_at_us
        spent_us = self._clock.server_us(now) - request.sent_at_us
        return spent_us / total_us if total_us > 0 else math.inf

    def _start(
        self, shard: int, search: "_Search", is_shared: bool, now: float, queue_us: int
    ) -> None:
        request, payload = search.request, search.payload
        if payload is None:
            self._count_malformed(search.error)
            self._fail(shard, request, queue_us, Failure("malformed", str(search.error)))
            return
        profile = self._profiles.get(payload.profile)
        if profile is None:
            reason = f"this worker has no rank profile {payload.profile!r}"
            self._fail(shard, request, queue_us, Failure("configuration", reason))
            return
        state = self._states.of(shard, payload.uid)
        if profile.lane == "loop":
            self._num_in_loop += 1
            body = state.noop_body(payload.k)
            work_us = int((time.monotonic() - now) * 1e6)
            is_hedge = request.hedge is not None
            self._replier.add(
                request.reply_to,
                Reply(request.query_id, shard, _OK, _LOOP, queue_us, 0, work_us, body, is_hedge),
            )
            return
        key = (request.reply_to, request.query_id, shard)
        if self._in_flight.is_running(key):  # given back by another, when its second copy was here
            self._counters.add("duplicate_at_pull")
            self._ledger.add(_DROPPED, 0, 0)
            return
        if profile.second_phase is None:
            # What kills is the time that it takes, so who allows little of it must not have the
            # query refused to who allows more.
            search.allowed_ms = max(1, request.expires_at_ms - request.sent_at_us // 1000)
        attach = request.attach
        wanted = () if attach is None else (attach.num, attach.max_bytes, attach.fields)
        work = Task(
            (shard, state.generation, request.payload, *wanted),
            self._clock.monotonic_s(request.expires_at_ms),
            search,
            request.late_ms / 1000,
            is_shared,
            payload.profile if profile.second_phase else OURS,
        )
        ticket = self._lane.submit(work, partial(self._finish, shard, search, queue_us))
        self._in_flight.begin(key, partial(self._lane.cancel, ticket))

    def _finish(self, shard: int, search: "_Search", queue_us: int, done: TaskResult) -> None:
        request = search.request
        error, work_us, cpu_us = done.error, done.work_us, done.cpu_us
        is_wanted = self._in_flight.end((request.reply_to, request.query_id, shard))
        left_us = request.expires_at_ms * 1000 - self._clock.server_us(time.monotonic())
        if error is not None and isinstance(error, ExpiredError | NotStartedError):
            self._unanswered(shard, search, done, is_wanted, left_us)
            return
        if left_us <= 0 or not is_wanted:
            self._counters.add("expired_at_reply" if is_wanted else "cancelled_at_reply")
            self._ledger.add(_UNUSED, work_us, cpu_us)
            return
        is_late = left_us <= request.late_ms * 1000
        self._ledger.add(_LATE if is_late else _ANSWERED, work_us, cpu_us)
        status, body = _OK, done.body
        if error is not None:
            status, body = _FAILED, failure_body(error)
            self._counters.add(f"failed_{error.code}")
        self._replier.add(
            request.reply_to,
            Reply(
                request.query_id,
                shard,
                status,
                _PROCESS,
                queue_us,
                done.lane_us,
                work_us,
                body,
                request.hedge is not None,
            ),
        )

    def _unanswered(
        self, shard: int, search: "_Search", done: TaskResult, is_wanted: bool, left_us: int
    ) -> None:
        """A work has ended to which there is no reply, or none from here."""
        error = done.error
        if isinstance(error, ExpiredError):
            if is_wanted:
                self._counters.add("expired_in_lane")
            self._ledger.add(error.end, done.work_us, done.cpu_us)
        elif is_wanted and left_us > 0:
            self._give_back(shard, search.message)
        else:
            self._counters.add("expired_in_lane" if is_wanted else "cancelled_in_lane")
            self._ledger.add(_DROPPED, 0, 0)

    def _fail(self, shard: int, request: Request, queue_us: int, failure: Failure) -> None:
        self._replier.add(
            request.reply_to,
            Reply(
                request.query_id,
                shard,
                _FAILED,
                Lane.NONE,
                queue_us,
                0,
                0,
                pack_body(failure),
                is_hedge=request.hedge is not None,
            ),
        )

    def _count_malformed(self, error: WireError | None) -> None:
        self._counters.add("requests_malformed")
        if self._throttle.allows("malformed", time.monotonic()):
            log.warning("request_malformed", error=str(error))


class _Search:
    """A request as read, and who it is to the process lane (`lanes.work.Identity`).

    Attributes:
        message: as it lay in the queue.
        payload: None when it is malformed; `error` says why.
        allowed_ms: how long it may take, if that is a part of what it is to the quarantine.
    """

    __slots__ = ("_fingerprint", "allowed_ms", "error", "message", "payload", "request")

    def __init__(
        self,
        message: bytes,
        request: Request,
        payload: SearchPayload | None,
        error: WireError | None = None,
    ) -> None:
        self.message = message
        self.request = request
        self.payload = payload
        self.error = error
        self.allowed_ms = 0
        self._fingerprint = b""

    @property
    def fingerprint(self) -> bytes:
        """What makes two searches the same to the quarantine; the loop lane does without."""
        if not self._fingerprint:
            self._fingerprint = fingerprint_of(self.request.payload, self.allowed_ms)
        return self._fingerprint

    @property
    def label(self) -> str:
        """An excerpt for people."""
        payload = self.payload
        return "" if payload is None else f"{payload.profile}: {payload.query[:LABEL_CHARS]}"


# A query's shards get the same bytes, and a worker with several of them pulls these at once.
@lru_cache(maxsize=256)
def _read(message: bytes, max_bytes: int) -> _Search:
    request = unpack_request(message, max_bytes)
    if request.kind != _SEARCH:
        raise WireError(f"kind {request.kind} does not belong in a search queue")
    try:
        return _Search(message, request, unpack_search_payload(request.payload))
    except WireError as error:
        return _Search(message, request, None, error)


def failure_body(error: WorkError) -> bytes:
    """The packed body of a failed reply."""
    return pack_body(Failure(error.code, error_line(error)))
