"""From a pulled search request to its reply, over a scripted lane and a clock set by hand."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast
from unittest.mock import Mock

import msgpack
import pytest
from msgspec.structs import replace

from hedgerow.common.errors import (
    ExpiredError,
    NotStartedError,
    RankingError,
    ScorerCrashedError,
    WorkError,
)
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.wire.messages import (
    Attach,
    Cancellation,
    Failure,
    Hedge,
    Kind,
    Lane,
    Request,
    SearchBody,
    SearchPayload,
    Status,
    pack_body,
    pack_cancellation,
    unpack_search_body,
)
from hedgerow.common.wire.packing import VERSION
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane, Task, TaskResult
from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState, pack_ids
from hedgerow.shard_worker.serving import intake
from hedgerow.shard_worker.serving import search as search_service
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE
from hedgerow.shard_worker.serving.forwarding import Forwarding
from hedgerow.shard_worker.serving.in_flight import MOST_REMEMBERED, InFlight
from hedgerow.shard_worker.serving.search import SearchService
from hedgerow.shard_worker.serving.served_profiles import ServedProfile
from hedgerow.shard_worker.serving.shard_state import CollectionState, ShardStates
from hedgerow.shard_worker.serving.work_accounting import WorkAccounting
from tests.support.virtual_time import run_virtually
from tests.unit.support.services import REPLY_TO, Clock, Replies

SHARD = 2
MAX_BYTES = 10_000
IDS = [f"d{number}" for number in range(20)]


@dataclass
class ScriptedLane:
    """Takes tasks; the test ends them."""

    works: list[Task] = field(default_factory=list)
    on_dones: list[Callable[[TaskResult], None]] = field(default_factory=list)
    elsewhere: int = 0

    cancelled: list[int] = field(default_factory=list)

    def submit(self, work: Task, on_done: Callable[[TaskResult], None]) -> int:
        """Take a task; its handle is its place in the list."""
        self.works.append(work)
        self.on_dones.append(on_done)
        return len(self.works) - 1

    def cancel(self, handle: int) -> None:
        """Note which is cancelled."""
        self.cancelled.append(handle)

    def observe_elsewhere(self, num_tasks: int) -> None:
        """Count what took nothing of this lane."""
        self.elsewhere += num_tasks


@dataclass
class Serving:
    """A service, and everything around it that the test scripts."""

    clock: Clock
    lane: ScriptedLane
    replies: Replies
    counters: Counters
    in_flight: InFlight
    ledger: WorkAccounting
    handed_over: list[Request]
    given_back: list[tuple[int, bytes]]
    service: SearchService

    def request(self, payload: bytes | None = None, **changes: Any) -> bytes:
        """As `Clock.request`, of `payload` or a default one."""
        body = search() if payload is None else payload
        return self.clock.request(Kind.SEARCH, body, **changes)

    def pull(self, *messages: bytes) -> None:
        """Have some requests pulled together."""
        self.service.handle([(message, [SHARD]) for message in messages])


def search(**changes: Any) -> bytes:
    """A packed payload."""
    return pack_body(replace(SearchPayload("u1", "hedge", 3, "bm25", "", False), **changes))


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Serving:
    """A service of one shard that holds twenty documents at generation 9."""
    clock, lane, replies, counters = Clock(), ScriptedLane(), Replies(), Counters()
    ledger = WorkAccounting()
    handed_over: list[Request] = []
    given_back: list[tuple[int, bytes]] = []
    server_clock = clock.drive(monkeypatch, search_service, intake)
    in_flight = InFlight(server_clock, counters, MAX_BYTES)
    states = ShardStates()
    states.take(
        ShardState(
            SHARD, "r", "1-0", [CollectionReport("u1", "{}", len(IDS), 9, 20, pack_ids(IDS))]
        )
    )
    records = intake.Records(server_clock, in_flight, ledger, counters)
    forwarding = Mock(spec=Forwarding, forward=handed_over.append)
    service = SearchService(
        cast("ProcessLane", lane),
        replies,
        states,
        {
            name: ServedProfile(profile, cast("ProcessLane", lane))
            for name, profile in (
                *BUILT_IN_PROFILES.items(),
                ("own", RankProfile(second_phase="my:function")),
            )
        },
        records,
        intake.Intake(records, forwarding, MAX_BYTES, states),
        lambda shard, message: given_back.append((shard, message)),
    )
    return Serving(
        clock, lane, replies, counters, in_flight, ledger, handed_over, given_back, service
    )


def test_a_search_goes_to_the_lane_and_its_result_home(serving: Serving) -> None:
    """The lane gets shard, generation, payload and deadline; the reply has its body and timings."""
    serving.pull(serving.request())
    (work,) = serving.lane.works
    assert work.payload == (SHARD, 9, search())
    assert work.expires_at == pytest.approx(serving.clock.now + 0.1)
    assert work.identity.label == "bm25: hedge"
    assert serving.replies.sent == []
    serving.lane.on_dones[0](TaskResult(b"body", 30, 400, 300, None))
    reply = serving.replies.only
    assert (reply.query_id, reply.shard, reply.status, reply.body) == (7, SHARD, Status.OK, b"body")
    assert reply.lane == Lane.PROCESS
    assert (reply.queue_us, reply.lane_us, reply.work_us) == (5000, 30, 400)
    assert serving.counters.as_dict() == {}


def test_clocks_that_disagree_give_no_negative_wait(serving: Serving) -> None:
    """A request that seems to come from the future has waited 0 µs in the queue."""
    serving.pull(serving.request(sent_at_us=serving.clock.server_us + 900))
    serving.lane.on_dones[0](TaskResult(b"", 0, 0, 0, None))
    assert serving.replies.only.queue_us == 0


def test_what_has_expired_at_the_pull_is_dropped(serving: Serving) -> None:
    """At its deadline a request is not started, has no reply and is counted; others are served."""
    late = [serving.request(expires_at_ms=serving.clock.server_ms(-by)) for by in (0.0, 0.001, 9.0)]
    serving.pull(*late, serving.request(query_id=8))
    assert len(serving.lane.works) == 1
    assert serving.counters.as_dict() == {"expired_at_pull": 3}
    serving.lane.on_dones[0](TaskResult(b"", 0, 0, 0, None))
    assert serving.replies.only.query_id == 8


@pytest.mark.parametrize("error", [None, RankingError("boost: too late")])
def test_what_has_expired_before_the_reply_is_dropped(
    serving: Serving, error: WorkError | None
) -> None:
    """A result or failure that comes at the deadline is not sent, and counted."""
    serving.pull(serving.request())
    serving.clock.now += 0.1
    serving.lane.on_dones[0](TaskResult(b"body", 1, 1, 0, error))
    assert serving.replies.sent == []
    assert serving.counters.as_dict() == {"expired_at_reply": 1}


def test_what_the_lane_lets_expire_is_dropped(serving: Serving) -> None:
    """Expired in the lane: no reply, and its own count."""
    serving.pull(serving.request())
    serving.lane.on_dones[0](TaskResult(b"", 1, 1, 0, ExpiredError("late")))
    assert serving.replies.sent == []
    assert serving.counters.as_dict() == {"expired_in_lane": 1}


@pytest.mark.parametrize(
    "error", [RankingError("boost: KeyError: 'year'"), ScorerCrashedError("x")]
)
def test_a_failure_in_the_lane_is_told_by_code_and_message(
    serving: Serving, error: WorkError
) -> None:
    """The reply is `failed`, with the error's code, message and the lane's timings."""
    serving.pull(serving.request())
    serving.lane.on_dones[0](TaskResult(b"", 30, 400, 300, error))
    reply = serving.replies.only
    assert (reply.status, reply.lane) == (Status.FAILED, Lane.PROCESS)
    assert (reply.queue_us, reply.lane_us, reply.work_us) == (5000, 30, 400)
    assert serving.replies.failure == Failure(error.code, str(error))
    assert serving.counters.as_dict() == {f"failed_{error.code}": 1}


def test_an_error_that_utf8_cannot_say_is_told_escaped(serving: Serving) -> None:
    """Half of a surrogate pair, as in a file name, does not keep a failure from its reply."""
    serving.pull(serving.request())
    serving.lane.on_dones[0](TaskResult(b"", 30, 400, 300, WorkError("no file \ud800.txt")))
    assert serving.replies.failure.message == "no file \\ud800.txt"


def test_malformed_requests_are_counted_and_have_no_reply(serving: Serving) -> None:
    """Rubbish, an unknown version, a fetch, too many bytes: no answer; others are served."""
    bad = [
        b"",
        b"\xc1",
        serving.request()[:-1],
        msgpack.packb([VERSION + 1, *msgpack.unpackb(serving.request())[1:]]),
        serving.request(kind=Kind.FETCH),
        serving.request(payload=b"x" * MAX_BYTES),
    ]
    serving.pull(*bad, serving.request())
    assert len(serving.lane.works) == 1
    assert serving.replies.sent == []
    assert serving.counters.as_dict() == {"requests_malformed": len(bad)}


@pytest.mark.parametrize(
    "payload", [b"\xc1", msgpack.packb(["u1", "hedge"]), search(k="three"), search(uid=None)]
)
def test_a_malformed_payload_is_answered(serving: Serving, payload: bytes) -> None:
    """The request names who waits, so that one hears at once that its payload is malformed."""
    serving.pull(serving.request(payload=payload))
    reply = serving.replies.only
    assert (reply.query_id, reply.status, reply.lane) == (7, Status.FAILED, Lane.NONE)
    assert (reply.queue_us, reply.lane_us, reply.work_us) == (5000, 0, 0)
    assert serving.replies.failure.code == "malformed"
    assert serving.counters.as_dict() == {"requests_malformed": 1}
    assert serving.lane.works == []


def test_an_unknown_profile_is_answered_by_its_name(serving: Serving) -> None:
    """The reply is `failed`, names the profile, and says that it is a matter of configuration."""
    serving.pull(serving.request(payload=search(profile="fancy")))
    assert (serving.replies.only.status, serving.replies.only.lane) == (Status.FAILED, Lane.NONE)
    assert serving.replies.failure.code == "configuration"
    assert "'fancy'" in serving.replies.failure.message
    assert serving.lane.works == []


@pytest.mark.parametrize(("k", "expected"), [(3, IDS[:3]), (1000, IDS)])
def test_noop_answers_in_the_loop(serving: Serving, k: int, expected: list[str]) -> None:
    """The first k ids with equal scores, all documents as matches, and nothing for the lane."""
    serving.pull(serving.request(payload=search(profile="noop", k=k)))
    reply = serving.replies.only
    assert (reply.status, reply.lane) == (Status.OK, Lane.LOOP)
    assert (reply.queue_us, reply.lane_us, reply.work_us) == (5000, 0, 0)
    assert unpack_search_body(reply.body) == SearchBody(
        len(IDS), len(IDS), True, expected, [0.0] * len(expected)
    )
    assert serving.lane.works == []
    assert serving.lane.elsewhere == 1


def test_the_ledger_counts_noop_as_cpu_of_the_loop(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request once, and the time of a pull once, however many were pulled together."""
    noop_body = CollectionState.noop_body

    def slowly(state: CollectionState, k: int) -> bytes:
        serving.clock.now += 0.002
        return noop_body(state, k)

    monkeypatch.setattr(CollectionState, "noop_body", slowly)
    message = serving.request(payload=search(profile="noop"))
    serving.pull(*[message] * 3)
    answered = serving.ledger.as_dict()["answered"]
    assert answered["count"] == 3
    assert answered["work_us"] == answered["cpu_us"] == pytest.approx(6000, abs=1)


def test_noop_of_a_collection_that_is_not_there_is_empty(serving: Serving) -> None:
    """A shard that holds nothing of a collection answers with nothing, not with a failure."""
    serving.pull(serving.request(payload=search(profile="noop", uid="other")))
    assert unpack_search_body(serving.replies.only.body) == SearchBody(0, 0, True, [], [])


def test_the_same_search_has_one_fingerprint_and_another_has_not(serving: Serving) -> None:
    """The quarantine recognises a search by its payload, whatever its caller and time."""
    serving.pull(serving.request(), serving.request(query_id=8, reply_to="hedgerow:reply:g2"))
    serving.pull(serving.request(payload=search(query="x"), query_id=9))
    serving.pull(serving.request(payload=search(k=4), query_id=10))
    same, again, other, more = (work.identity.fingerprint for work in serving.lane.works)
    assert same == again is not None
    assert len({same, other, more}) == 3


def test_a_search_that_asks_for_documents_has_the_same_fingerprint(serving: Serving) -> None:
    """The scorer learns which; varying the fields does not escape the quarantine."""
    serving.pull(
        serving.request(), serving.request(query_id=8, attach=Attach(3, 500, ["title"], k=5))
    )
    plain, asking = serving.lane.works
    assert asking.payload == (*plain.payload, 3, 500, ["title"], (), 5)
    assert asking.identity.fingerprint == plain.identity.fingerprint


def test_who_allows_a_query_little_time_does_not_have_it_refused_to_the_others(
    serving: Serving,
) -> None:
    """Where time is all that kills, deadlines that are far apart make different queries."""
    for query_id, left_s in enumerate((0.001, 0.1, 0.12, 2.0)):
        expires_at_ms = serving.clock.server_ms(left_s)
        serving.pull(serving.request(query_id=query_id, expires_at_ms=expires_at_ms))
    short, usual, alike, long = (work.identity.fingerprint for work in serving.lane.works)
    assert usual == alike
    assert len({short, usual, long}) == 3


def test_a_users_function_that_kills_is_known_whatever_the_deadline(serving: Serving) -> None:
    """What crashes by the query's text does so under any deadline."""
    for query_id, left_s in enumerate((0.001, 0.1, 2.0)):
        request = serving.request(
            search(profile="own"),
            query_id=query_id,
            expires_at_ms=serving.clock.server_ms(left_s),
        )
        serving.pull(request)
    assert len(serving.lane.works) == 3
    assert len({work.identity.fingerprint for work in serving.lane.works}) == 1


def cancel(serving: Serving, *query_ids: int, shard: int = SHARD, reply_to: str = REPLY_TO) -> None:
    """The gateway says that these queries are no longer wanted."""
    expires_at_ms = serving.clock.server_ms(0.1)
    message = pack_cancellation(
        Cancellation(reply_to, [(query_id, expires_at_ms) for query_id in query_ids])
    )
    serving.in_flight.on_cancel(shard, message, serving.clock.now)


def test_a_cancelled_search_that_runs_is_stopped_and_not_answered(serving: Serving) -> None:
    """Its task is cancelled in the lane; its cost is in the ledger, and nothing is sent."""
    serving.pull(serving.request(query_id=7), serving.request(query_id=8))
    cancel(serving, 7)
    assert serving.lane.cancelled == [0]
    serving.lane.on_dones[0](TaskResult(b"", 30, 400, 300, ExpiredError("cancelled")))
    assert serving.replies.sent == []
    assert serving.ledger.as_dict()["stopped"] == {"count": 1, "work_us": 400, "cpu_us": 300}
    serving.lane.on_dones[1](TaskResult(b"", 30, 500, 375, None))
    assert serving.replies.only.query_id == 8
    assert serving.ledger.as_dict()["answered"] == {"count": 1, "work_us": 500, "cpu_us": 375}


def test_a_search_that_was_cancelled_before_its_pull_is_dropped(serving: Serving) -> None:
    """Only the query, gateway and shard that were named are; and only once."""
    cancel(serving, 7, reply_to="hedgerow:reply:g2")
    cancel(serving, 7, shard=SHARD + 1)
    cancel(serving, 8)
    serving.pull(serving.request(query_id=7), serving.request(query_id=8))
    assert len(serving.lane.works) == 1
    assert serving.ledger.as_dict()["dropped"] == {"count": 1, "work_us": 0, "cpu_us": 0}
    assert serving.counters.as_dict() == {"cancelled_at_pull": 1}


def test_a_result_that_comes_after_the_cancellation_is_unused(serving: Serving) -> None:
    """A lane that had finished when it heard of the cancellation sends nothing."""
    serving.pull(serving.request())
    cancel(serving, 7)
    serving.lane.on_dones[0](TaskResult(b"body", 30, 400, 300, None))
    assert serving.replies.sent == []
    assert serving.ledger.as_dict()["unused"] == {"count": 1, "work_us": 400, "cpu_us": 300}


def test_what_cannot_start_here_is_given_back_as_it_came(serving: Serving) -> None:
    """A search that found every scorer held up is returned unchanged, and not answered."""
    message = serving.request()
    serving.pull(message)
    assert serving.lane.works[0].is_movable
    serving.lane.on_dones[0](TaskResult(b"", 20_000, 0, 0, NotStartedError("held up")))
    assert serving.given_back == [(SHARD, message)]
    assert serving.replies.sent == []
    serving.pull(message)  # no other worker has taken it
    assert len(serving.lane.works) == 2


def test_what_nobody_waits_for_is_not_given_back(serving: Serving) -> None:
    """A search that was cancelled meanwhile or has expired is not handed on."""
    serving.pull(serving.request(), serving.request(query_id=8))
    cancellation = Cancellation(REPLY_TO, [(7, serving.clock.server_ms(0.1))])
    serving.in_flight.on_cancel(SHARD, pack_cancellation(cancellation), serving.clock.now)
    serving.lane.on_dones[0](TaskResult(b"", 20_000, 0, 0, NotStartedError("held up")))
    serving.clock.now += 0.2
    serving.lane.on_dones[1](TaskResult(b"", 200_000, 0, 0, NotStartedError("held up")))
    assert serving.given_back == []
    assert serving.ledger.as_dict()["dropped"]["count"] == 2


def test_what_was_sent_to_this_worker_alone_stays(serving: Serving) -> None:
    """A second copy that was handed to it, or a shadow request, is not for other replicas."""
    serving.service.handle([(serving.request(hedge=Hedge(SHARD, [])), [OWN_QUEUE])])
    assert not serving.lane.works[0].is_movable


def test_a_first_copy_that_comes_back_is_dropped_where_the_second_runs(serving: Serving) -> None:
    """The replica that runs a search's second copy does not start the first one as well."""
    serving.pull(serving.request(hedge=Hedge(SHARD, ["worker-2"])))
    serving.pull(serving.request())
    assert len(serving.lane.works) == 1
    serving.lane.on_dones[0](TaskResult(b"body", 300, 200, 0, None))
    assert serving.replies.only.is_hedge


@pytest.mark.parametrize(
    ("after_s", "end", "num_sent"), [(0.05, "answered", 1), (0.08, "late", 1), (0.11, "unused", 0)]
)
def test_a_late_reply_is_sent_while_it_is_learnt_from(
    serving: Serving, after_s: float, end: str, num_sent: int
) -> None:
    """Between its deadline and its expiry a result is sent, and its work was for no answer."""
    serving.pull(serving.request(late_ms=30))  # due in 70 ms, worth nothing in 100
    (work,) = serving.lane.works
    assert work.expires_at - work.late_s == pytest.approx(serving.clock.now + 0.07)
    serving.clock.now += after_s
    serving.lane.on_dones[0](TaskResult(b"body", 30, 400, 300, None))
    assert len(serving.replies.sent) == num_sent
    assert serving.ledger.as_dict()[end] == {"count": 1, "work_us": 400, "cpu_us": 300}


def test_cancellations_are_forgotten_when_they_expire(serving: Serving) -> None:
    """What was cancelled and never pulled is not remembered beyond its deadline."""
    cancel(serving, *range(100))
    assert len(serving.in_flight._unwanted) == 100
    serving.clock.now += 0.2
    cancel(serving, 1000)
    assert len(serving.in_flight._unwanted) == 1


def test_no_more_cancellations_are_remembered_than_the_limit(serving: Serving) -> None:
    """The oldest are forgotten first."""
    for first in range(0, MOST_REMEMBERED + 10, 500):
        cancel(serving, *range(first, min(first + 500, MOST_REMEMBERED + 10)))
    assert len(serving.in_flight._unwanted) == MOST_REMEMBERED
    serving.pull(serving.request(query_id=5), serving.request(query_id=MOST_REMEMBERED + 5))
    assert len(serving.lane.works) == 1


def test_a_second_copy_of_a_shard_that_was_let_go_of_goes_to_another_worker(
    serving: Serving,
) -> None:
    """A gateway that has not noticed yet has sent it to this worker's own queue."""
    hedge = Hedge(SHARD + 1, ["worker-2"])
    serving.service.handle([(serving.request(hedge=hedge), [OWN_QUEUE])])
    assert [one.hedge for one in serving.handed_over] == [hedge]
    assert serving.lane.works == []
    assert serving.replies.sent == []


def test_a_shard_is_drained_when_its_last_request_has_ended(serving: Serving) -> None:
    """Those of other shards run on; what has not ended in time is stopped."""
    stopped: list[str] = []

    async def scenario() -> None:
        in_flight, loop = serving.in_flight, asyncio.get_running_loop()
        for number, shard in enumerate((1, 1, 2)):
            in_flight.begin(("g", number, shard), partial(stopped.append, f"{number}"))
        loop.call_later(1.0, in_flight.end, ("g", 0, 1))
        loop.call_later(2.0, in_flight.end, ("g", 1, 1))
        began = loop.time()
        await in_flight.drain(1, 10.0)
        assert loop.time() - began == pytest.approx(2.0)
        await in_flight.drain(3, 10.0)
        assert stopped == []
        await in_flight.drain(2, 5.0)
        assert loop.time() - began == pytest.approx(7.0)
        assert stopped == ["2"]
        assert not in_flight.is_running(("g", 2, 2))

    run_virtually(scenario())
