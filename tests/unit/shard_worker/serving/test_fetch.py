"""From a pulled fetch request to its reply, over a scripted thread lane and a clock set by hand."""

import asyncio
import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from unittest.mock import Mock

import msgpack
import pytest
from msgspec.structs import replace

from hedgerow.common.collection import define
from hedgerow.common.errors import ExpiredError, HedgerowError, LaneUnavailableError, WorkError
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.limits import LimitSettings
from hedgerow.common.wire.messages import (
    Failure,
    FetchBody,
    FetchPayload,
    Kind,
    Lane,
    Request,
    Status,
    pack_body,
    unpack_fetch_body,
)
from hedgerow.common.wire.packing import VERSION
from hedgerow.common.wire.search_options import Highlighting, WantedHighlights, WantedTerms
from hedgerow.shard_worker.executors.thread_pool.batched_threads import BatchedThreads
from hedgerow.shard_worker.executors.thread_pool.threads import Spent, ThreadLane
from hedgerow.shard_worker.scoring.highlighting import Highlighter
from hedgerow.shard_worker.serving import fetch as fetch_service
from hedgerow.shard_worker.serving import intake
from hedgerow.shard_worker.serving.enriching import Enrich
from hedgerow.shard_worker.serving.fetch import FetchLanes, FetchService
from hedgerow.shard_worker.serving.forwarding import Forwarding
from hedgerow.shard_worker.serving.in_flight import InFlight
from hedgerow.shard_worker.serving.work_accounting import WorkAccounting
from hedgerow.shard_worker.storage.picking import Pick
from hedgerow.shard_worker.storage.term_statistics import TermStatistics
from tests.unit.support.services import Clock, Replies

T = TypeVar("T")

SHARD = 2
MAX_BYTES = 10_000
LIMITS = LimitSettings(
    max_message_bytes=MAX_BYTES, max_fetch_bytes=400, max_document_bytes=200, max_enrich_bytes=90
)
STORED: dict[str, dict[str, Any]] = {
    "a": {"id": "a", "title": "hedge", "year": 1990},
    "b": {"id": "b", "title": "row"},
}


@dataclass
class ScriptedLane:
    """Runs calls at once; waiting for a thread and running take what the test says."""

    clock: Clock
    wait_s: float = 0.0
    run_s: float = 0.0
    error: Exception | None = None
    timeouts: list[float] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)

    async def run(
        self, call: Callable[[], T], timeout_s: float, spent: Spent, profile: str = ""
    ) -> T:
        """Run `call` as a thread would, or fail as the lane would."""
        self.timeouts.append(timeout_s)
        self.profiles.append(profile)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.clock.now += self.wait_s
        result = call()
        self.clock.now += self.run_s
        spent.ran_s += self.run_s
        spent.cpu_s += self.run_s / 4
        return result


@dataclass
class Serving:
    """A service, and everything around it that the test scripts."""

    clock: Clock
    lane: ScriptedLane
    replies: Replies
    counters: Counters
    ledger: WorkAccounting
    service: FetchService
    asked: list[tuple[int, str, list[str]]]
    broken: list[Exception]
    enrichers: dict[str, Enrich]

    def request(self, payload: bytes | None = None, **changes: Any) -> bytes:
        """As `Clock.request`, of `payload` or a default one."""
        body = fetch() if payload is None else payload
        return self.clock.request(Kind.FETCH, body, **changes)

    async def pull(self, *messages: bytes) -> None:
        """Have some requests pulled together, and wait until all are answered or dropped."""
        self.service.handle([(message, [SHARD]) for message in messages])
        await self.service.drain(5)

    @property
    def body(self) -> FetchBody:
        """The body of the only reply, which was good."""
        assert self.replies.only.status == Status.OK
        body = unpack_fetch_body(self.replies.only.body)
        documents = [json.loads(one) if isinstance(one, bytes) else one for one in body.documents]
        return replace(body, documents=documents)


@dataclass
class Documents:
    """Reads `STORED`, or fails."""

    asked: list[tuple[int, str, list[str]]]
    broken: list[Exception]

    def definition(self, shard: int, uid: str) -> str | None:
        """Of a collection with titles."""
        return define("c", {"fields": {"title": "text"}}, uid=uid).to_json()

    def statistics(self, uid: str) -> TermStatistics | None:
        """None yet."""
        return None

    def read(
        self,
        shard: int,
        uid: str,
        ids: list[str],
        max_bytes: int,
        pick: Pick | None,
        is_late: Callable[[], bool],
    ) -> list[bytes | int | None]:
        """In the order of the ids."""
        self.asked.append((shard, uid, ids))
        if self.broken:
            raise self.broken[0]
        bodies = {one: json.dumps(stored).encode() for one, stored in STORED.items()}
        return [
            None if one not in bodies else bodies[one] if pick is None else pick(bodies[one])
            for one in ids
        ]


def fetch(*ids: str, **changes: Any) -> bytes:
    """A packed payload."""
    return pack_body(replace(FetchPayload("u1", list(ids or "a"), None, ""), **changes))


def shout(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An enrich hook."""
    return [{**document, "loud": document["title"].upper()} for document in documents]


def _circle() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["circle"] = circle
    return circle


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Serving:
    """A service over a few documents, with one profile that enriches."""
    clock, replies, counters = Clock(), Replies(), Counters()
    lane = ScriptedLane(clock)
    asked: list[tuple[int, str, list[str]]] = []
    broken: list[Exception] = []

    enrichers: dict[str, Enrich] = {"loud": shout}
    server_clock = clock.drive(monkeypatch, fetch_service, intake)
    handed_over: list[Request] = []
    in_flight, ledger = InFlight(server_clock, counters, MAX_BYTES), WorkAccounting()
    records = intake.Records(server_clock, in_flight, ledger, counters)
    service = FetchService(
        FetchLanes(cast("BatchedThreads", lane), cast("ThreadLane", lane)),
        replies,
        Documents(asked, broken),
        enrichers,
        records,
        intake.Intake(
            records,
            Mock(spec=Forwarding, forward=handed_over.append),
            LIMITS.max_message_bytes,
            held=(SHARD,),
        ),
        LIMITS,
    )
    return Serving(clock, lane, replies, counters, ledger, service, asked, broken, enrichers)


async def test_documents_are_read_in_the_order_asked(serving: Serving) -> None:
    """The shard's documents of the collection, None for one that is not there, and the timings."""
    serving.lane.wait_s, serving.lane.run_s = 0.003, 0.020
    await serving.pull(serving.request(payload=fetch("b", "gone", "a")))
    assert serving.asked == [(SHARD, "u1", ["b", "gone", "a"])]
    assert serving.body == FetchBody([STORED["b"], None, STORED["a"]], "")
    reply = serving.replies.only
    assert (reply.query_id, reply.shard, reply.lane) == (7, SHARD, Lane.THREAD)
    assert reply.queue_us == 5000
    assert reply.lane_us == pytest.approx(3000, abs=1)
    assert reply.work_us == pytest.approx(20_000, abs=1)
    assert serving.lane.timeouts == [pytest.approx(0.1)]
    assert serving.counters.as_dict() == {}


async def test_only_wanted_fields_travel(serving: Serving) -> None:
    """Fields that were not asked for stay behind; one that a document lacks is left out."""
    await serving.pull(serving.request(payload=fetch("a", "b", fields=["year", "id"])))
    assert serving.body.documents == [{"year": 1990, "id": "a"}, {"id": "b"}]


HIGHLIGHTING = Highlighting(
    "hedges", False, None, WantedHighlights(("title",), 0, 100, 1000, "<em>", "</em>")
)
MARKED = b'{"title":["<em>hedge</em>"]}'


@pytest.mark.parametrize("profile", ["bm25", "loud"])
async def test_documents_come_with_what_matches_in_them(serving: Serving, profile: str) -> None:
    """One without a match has empty highlights; one that is not there has none."""
    wanted = fetch("a", "gone", "b", fields=["id"], highlighting=HIGHLIGHTING, profile=profile)
    await serving.pull(serving.request(payload=wanted))
    assert serving.body.documents == [{"id": "a"}, None, {"id": "b"}]
    assert serving.body.highlights == (
        MARKED,
        None,
        b"{}",
    )
    assert serving.body.highlight_error == ""


async def test_late_highlights_leave_time_for_the_documents(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once their share of the time is over, documents come without, and the reply says so."""
    monkeypatch.setattr(Highlighter, "highlights", _slow(serving.clock, 0.045))
    wanted = fetch("a", "b", "a", highlighting=HIGHLIGHTING)
    await serving.pull(serving.request(payload=wanted))
    assert serving.body.documents == [STORED["a"], STORED["b"], STORED["a"]]
    assert serving.body.highlights == (
        b"{}",
        b"{}",
        None,
    )
    assert serving.body.highlight_error == "there was no time for the highlights of a document"


def _slow(clock: Clock, seconds: float) -> Callable[..., bytes | None]:
    def highlights(_: Highlighter, _body: bytes, is_late: Callable[[], bool]) -> bytes | None:
        if is_late():
            return None
        clock.now += seconds
        return b"{}"

    return highlights


async def test_the_telling_words_of_a_document_travel_alone(serving: Serving) -> None:
    """Without the document, but with whether it is there."""
    wanted = WantedTerms(("title",), 5, 1000)
    await serving.pull(serving.request(payload=fetch("a", terms=wanted)))
    assert serving.body == FetchBody([{}], "", terms=(("title", "hedg"),))


async def test_a_query_that_does_not_fit_costs_the_highlights_alone(serving: Serving) -> None:
    """The documents arrive, with the reason."""
    bad = replace(HIGHLIGHTING, query="gone:1", strict=True)
    await serving.pull(serving.request(payload=fetch("a", highlighting=bad)))
    assert serving.body.documents == [STORED["a"]]
    assert serving.body.highlights == (None,)
    assert serving.body.highlight_error.startswith("nothing is highlighted: ")


async def test_the_ledger_has_what_both_calls_cost(serving: Serving) -> None:
    """Of reading and `enrich` together: the time with a thread, and their CPU; not the waits."""
    serving.lane.wait_s, serving.lane.run_s = 0.003, 0.020
    await serving.pull(serving.request(payload=fetch("a", profile="loud")))
    assert serving.body == FetchBody([{**STORED["a"], "loud": "HEDGE"}], "")
    assert serving.ledger.as_dict()["answered"] == {
        "count": 1,
        "work_us": 40_000,
        "cpu_us": 10_000,
    }


async def test_enrich_runs_over_what_was_found(serving: Serving) -> None:
    """The profile's hook adds to each document that is there; the wanted fields are then taken."""
    payload = fetch("a", "gone", profile="loud", fields=["loud"])
    await serving.pull(serving.request(payload=payload))
    assert serving.body == FetchBody([{"loud": "HEDGE"}, None], "")


@pytest.mark.parametrize(
    "value",
    [
        b"\xff",
        {"deep": [b"\xff"]},
        {b"\xff": 1},
        math.nan,
        -math.inf,
        "\ud800",
        {"\ud800": 1},
        object,
        _circle(),
    ],
    ids=repr,
)
async def test_what_json_cannot_say_costs_the_enrichment_alone(
    serving: Serving, value: object
) -> None:
    """A hook that returns it has failed, in words that say so; the stored fields arrive."""
    serving.enrichers["loud"] = lambda documents: [{**one, "extra": value} for one in documents]
    await serving.pull(serving.request(payload=fetch("a", "b", profile="loud")))
    assert serving.body.documents == [STORED["a"], STORED["b"]]
    assert serving.body.enrich_error.startswith("enrich failed: ")
    assert serving.counters.as_dict() == {"enrich_failed": 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1: "one", "2": {3: ()}}, {"1": "one", "2": {"3": []}}),
        (b"utf-8", "utf-8"),
        (datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29T00:00:00Z"),
        (0.1 + 0.2, 0.1 + 0.2),
        (2**64, 2**64),
    ],
    ids=repr,
)
async def test_what_json_can_say_travels_as_json_says_it(
    serving: Serving, value: object, expected: object
) -> None:
    """Keys that are no text, tuples, bytes of text and dates arrive as they would in a response."""
    serving.enrichers["loud"] = lambda documents: [{**one, "extra": value} for one in documents]
    await serving.pull(serving.request(payload=fetch("a", profile="loud")))
    assert serving.body == FetchBody([{**STORED["a"], "extra": expected}], "")


async def test_a_profile_without_a_hook_reads_only(serving: Serving) -> None:
    """A profile that this worker has no enrich for leaves the documents as they are stored."""
    await serving.pull(serving.request(payload=fetch("a", profile="bm25")))
    assert serving.body == FetchBody([STORED["a"]], "")


async def test_what_has_expired_at_the_pull_is_dropped(serving: Serving) -> None:
    """At its deadline a request reads nothing, has no reply and is counted; others are served."""
    late = [serving.request(expires_at_ms=serving.clock.server_ms(-by)) for by in (0.0, 9.0)]
    await serving.pull(*late, serving.request(query_id=8))
    assert len(serving.asked) == 1
    assert serving.replies.only.query_id == 8
    assert serving.counters.as_dict() == {"expired_at_pull": 2}


async def test_what_has_expired_before_the_reply_is_dropped(serving: Serving) -> None:
    """Documents that are read too late are not sent, and counted."""
    serving.lane.run_s = 0.1
    await serving.pull(serving.request())
    assert len(serving.asked) == 1
    assert serving.replies.sent == []
    assert serving.counters.as_dict() == {"expired_at_reply": 1}


async def test_what_the_lane_lets_expire_is_dropped(serving: Serving) -> None:
    """Expired in the lane: no reply, and its own count."""
    serving.lane.error = ExpiredError("late")
    await serving.pull(serving.request())
    assert serving.replies.sent == []
    assert serving.counters.as_dict() == {"expired_in_lane": 1}


async def test_a_lane_without_threads_is_told_at_once(serving: Serving) -> None:
    """All threads lost: the reply is `failed` and says so."""
    serving.lane.error = LaneUnavailableError("all 4 threads are lost")
    await serving.pull(serving.request())
    assert (serving.replies.only.status, serving.replies.only.lane) == (Status.FAILED, Lane.THREAD)
    assert serving.replies.failure == Failure(LaneUnavailableError.code, "all 4 threads are lost")
    assert serving.counters.as_dict() == {f"failed_{LaneUnavailableError.code}": 1}


@pytest.mark.parametrize(
    "error",
    [
        HedgerowError("the store is locked"),
        OSError(5, "I/O error"),
        ValueError("not JSON"),
        sqlite3.DatabaseError("database disk image is malformed"),
        RuntimeError("can't start new thread"),
    ],
)
async def test_a_store_that_cannot_be_read_is_a_failure(serving: Serving, error: Exception) -> None:
    """The reply is `failed` with the store's own words, and the next fetch is served."""
    serving.broken.append(error)
    await serving.pull(serving.request())
    assert serving.replies.only.status == Status.FAILED
    assert str(error) in serving.replies.failure.message
    serving.broken.clear()
    serving.replies.sent.clear()
    await serving.pull(serving.request())
    assert serving.body.documents == [STORED["a"]]


@pytest.mark.parametrize("kind", [WorkError, OSError])
async def test_an_error_that_utf8_cannot_say_is_told_escaped(
    serving: Serving, kind: type[WorkError | OSError]
) -> None:
    """Half of a surrogate pair, as in a file name, does not keep a failure from its reply."""
    serving.lane.error = kind("no file \ud800.txt")
    await serving.pull(serving.request())
    assert serving.replies.failure.message.endswith("no file \\ud800.txt")


async def test_malformed_requests_are_counted_and_dropped(serving: Serving) -> None:
    """Rubbish, an unknown version, a search, a bad payload, too many bytes; others are served."""
    bad = [
        b"",
        b"\xc1",
        serving.request()[:-1],
        msgpack.packb([VERSION + 1, *msgpack.unpackb(serving.request())[1:]]),
        serving.request(kind=Kind.SEARCH),
        serving.request(payload=b"\xc1"),
        serving.request(payload=msgpack.packb(["u1", "a", None, ""])),
        serving.request(payload=fetch("x" * MAX_BYTES)),
    ]
    await serving.pull(*bad, serving.request(query_id=8))
    assert len(serving.asked) == 1
    assert serving.replies.only.query_id == 8
    assert serving.counters.as_dict() == {"requests_malformed": len(bad)}


async def test_one_slow_fetch_holds_up_no_other(serving: Serving) -> None:
    """Requests of one pull are under way together, and each is answered."""
    await serving.pull(*(serving.request(query_id=number) for number in range(20)))
    answered = [sent.reply.query_id for sent in serving.replies.sent]
    assert sorted(answered) == list(range(20))


async def test_draining_cancels_what_does_not_end(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch that hangs at shutdown is waited for no longer than asked, and leaves no task."""

    async def hang(*_args: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(serving.lane, "run", hang)
    serving.service.handle([(serving.request(), [SHARD])])
    await serving.service.drain(0.01)
    assert serving.replies.sent == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
