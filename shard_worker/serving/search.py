"""Searches: from a pulled request to its reply, through the lane that its rank profile names."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from hedgerow.common.errors import ExpiredError, FailureCode, NotStartedError, WorkError
from hedgerow.common.wire.messages import Failure, Lane, Reply, Request, Status, pack_body
from hedgerow.shard_worker.executors.bulkhead import OURS
from hedgerow.shard_worker.executors.error_text import error_line
from hedgerow.shard_worker.executors.process_pool.task import Task, TaskResult
from hedgerow.shard_worker.serving.intake import Intake, Records
from hedgerow.shard_worker.serving.pull_policy import Pulled
from hedgerow.shard_worker.serving.replier import Replies
from hedgerow.shard_worker.serving.search_request import SearchRequest, read_search
from hedgerow.shard_worker.serving.served_profiles import ElsewhereObserver, ServedProfile
from hedgerow.shard_worker.serving.shard_state import ShardStates
from hedgerow.shard_worker.serving.work_accounting import End

# In Python 3.11, looking up an enum's member takes five times as long as a global.
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

    The deadline is checked when a request is pulled, before the process lane starts it, and before
    its reply leaves. An expired request is dropped without a reply.
    """

    def __init__(
        self,
        lane: ElsewhereObserver,
        replier: Replies,
        states: ShardStates,
        profiles: Mapping[str, ServedProfile],
        records: Records,
        intake: Intake,
        give_back: Callable[[int, bytes], None],
    ) -> None:
        """Search by profiles' scorers; those with `lane = "loop"` are answered on the event loop.

        Args:
            lane: counts what no scorer runs.
            replier: collects the replies, which `Turn` sends.
            states: what the shards hold.
            profiles: the rank profiles by name; may change between two searches.
            records: where requests are recorded.
            intake: sorts out what was pulled.
            give_back: returns a request of a shard that cannot start here soon to its queue.
        """
        self._lane = lane
        self._replier = replier
        self._states = states
        self._profiles = profiles
        self._clock, self._in_flight, self._accounting, self._counters = records
        self._intake = intake
        self._give_back = give_back
        self._num_in_loop = 0

    def handle(self, pulled: list[Pulled]) -> None:
        """Start the requests of one pull; replies that are ready at once go to the replier."""
        self._num_in_loop = 0
        now = self._intake.take(self, pulled)
        if num := self._num_in_loop:
            self._lane.observe_elsewhere(num)
            # The loop does not wait here, so all of the time is CPU time.
            took_us = int((time.monotonic() - now) * 1e6)
            self._accounting.add(_ANSWERED, took_us, took_us, num)

    read = staticmethod(read_search)

    def start(
        self,
        shard: int,
        read: SearchRequest,
        now: float,
        queue_us: int,
        is_shared: bool,
    ) -> None:
        """See `Service.start`."""
        request, payload = read.request, read.payload
        if payload is None:
            self._intake.count_malformed(read.error)
            self._fail(shard, request, queue_us, Failure(FailureCode.MALFORMED, str(read.error)))
            return
        served = self._profiles.get(payload.profile)
        if served is None:
            reason = f"this worker has no rank profile {payload.profile!r}"
            self._fail(shard, request, queue_us, Failure(FailureCode.CONFIGURATION, reason))
            return
        profile, scorers = served
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
        if self._in_flight.is_running(
            key
        ):  # another worker gave it back while its second copy ran here
            self._counters.add("duplicate_at_pull")
            self._accounting.add(_DROPPED, 0, 0)
            return
        if profile.second_phase is None:
            # Such a search kills a scorer only by running too long. A caller that allows it little
            # time must not cause it to be refused to callers that allow more.
            read.allowed_ms = max(1, request.expires_at_ms - request.sent_at_us // 1000)
        attach = request.attach
        wanted: tuple[object, ...] = ()
        if attach is not None:
            wanted = (attach.num, attach.max_bytes, attach.fields, attach.vectors, attach.k)
        trace = request.trace
        traced = () if trace is None or profile.second_phase is None else (trace,)
        task = Task(
            (shard, state.generation, request.payload, *wanted, *traced),
            self._clock.monotonic_s(request.expires_at_ms),
            read,
            request.late_ms / 1000,
            is_shared,
            payload.profile if profile.second_phase else OURS,
        )
        handle = scorers.submit(task, partial(self._finish, shard, read, queue_us))
        self._in_flight.begin(key, partial(scorers.cancel, handle))

    def _finish(self, shard: int, search: SearchRequest, queue_us: int, result: TaskResult) -> None:
        request = search.request
        error, work_us, cpu_us = result.error, result.work_us, result.cpu_us
        is_wanted = self._in_flight.end((request.reply_to, request.query_id, shard))
        left_us = request.expires_at_ms * 1000 - self._clock.server_us(time.monotonic())
        if error is not None and isinstance(error, ExpiredError | NotStartedError):
            self._unanswered(shard, search, result, is_wanted, left_us)
            return
        if left_us <= 0 or not is_wanted:
            self._counters.add("expired_at_reply" if is_wanted else "cancelled_at_reply")
            self._accounting.add(_UNUSED, work_us, cpu_us)
            return
        is_late = left_us <= request.late_ms * 1000
        self._accounting.add(_LATE if is_late else _ANSWERED, work_us, cpu_us)
        status, body = _OK, result.body
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
                result.lane_us,
                work_us,
                body,
                request.hedge is not None,
            ),
        )

    def _unanswered(
        self, shard: int, search: SearchRequest, result: TaskResult, is_wanted: bool, left_us: int
    ) -> None:
        """Account for a task that has ended without a reply from this worker."""
        error = result.error
        if isinstance(error, ExpiredError):
            if is_wanted:
                self._counters.add("expired_in_lane")
            self._accounting.add(error.end, result.work_us, result.cpu_us)
        elif is_wanted and left_us > 0:
            self._give_back(shard, search.message)
        else:
            self._counters.add("expired_in_lane" if is_wanted else "cancelled_in_lane")
            self._accounting.add(_DROPPED, 0, 0)

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


def failure_body(error: WorkError) -> bytes:
    """The packed body of a failed reply."""
    return pack_body(Failure(error.code, error_line(error)))
