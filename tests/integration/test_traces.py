"""Traces across real processes, as a receiver of OTLP sees them."""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from hedgerow.gateway.client import AsyncClient, Client
from tests.support.otlp_receiver import ReceivedSpan, Receiver, receiving
from tests.support.trees import loaded
from tests.support.up import Caller, running_up
from tests.support.waiting import until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
HOOKS = "tests.integration.support.traced_hooks"
PROFILES = {
    "mine": {"second_phase": f"{HOOKS}:rank"},
    "enriching": {"enrich": f"{HOOKS}:enrich"},
}
TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
CALLER = f"00-{TRACE_ID:032x}-00f067aa0ba902b7-01"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes what it gets."""
    with receiving() as one:
        yield one


def tracing(endpoint: str, **settings: Any) -> dict[str, str]:
    """The environment of a cluster that traces."""
    named = {"enabled": "true", "endpoint": endpoint, "sample_rate": "0", **settings}
    return {
        **{f"HEDGEROW_TRACING__{name.upper()}": str(value) for name, value in named.items()},
        "HEDGEROW_RANK_PROFILES": json.dumps(PROFILES),
        "HEDGEROW_WORKER__SCORERS": "1",
        "HEDGEROW_GATEWAY__SLOW_MS": "0",
    }


def up(tmp_path: Path, environment: dict[str, str]) -> Any:
    """A cluster of two shards on one worker, for the block."""
    options = ("--shards", "2", "--workers", "1")
    return running_up(tmp_path / "data", *options, folder=ROOT, **environment)


def slow_lines(tmp_path: Path, trace_id: str = "") -> list[str]:
    """What the gateway has logged of slow searches."""
    text = (tmp_path / "data" / "logs" / "gateway.log").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if '"slow_query"' in line and trace_id in line]


async def complete(
    receiver: Receiver, trace_id: str, num_spans: int, **by_name: int
) -> list[ReceivedSpan]:
    """The spans of a trace, once there are as many; those of each process come by themselves."""

    def are_there() -> bool:
        spans = receiver.trace(trace_id)
        return len(spans) >= num_spans and names(spans) >= Counter(by_name)

    try:
        await until(are_there)
    except TimeoutError:
        pytest.fail(f"{num_spans} spans, {by_name}: there are {receiver.tree(trace_id)}")
    return receiver.trace(trace_id)


def names(spans: list[ReceivedSpan]) -> Counter[str]:
    """How many there are of each."""
    return Counter(span.name for span in spans)


async def test_a_sampled_search_is_one_trace_through_all_processes(
    tmp_path: Path, receiver: Receiver
) -> None:
    """From the caller's span through gateway and scorer to the spans of the user's function."""
    environment = tracing(receiver.url, sample_rate=1)
    async with up(tmp_path, environment) as one, Caller(one.url) as caller:
        await loaded(caller)
        caller.http.headers["traceparent"] = CALLER
        found = await caller.found("trees", "amber", rank_profile="mine")
        assert found["trace_id"] == CALLER[3:35]
        wanted = {"search shard": 2, "second phase": 2, "my ranking": 2}
        spans = await complete(receiver, found["trace_id"], 14, **wanted)
    assert receiver.headers["content-type"] == "application/x-protobuf"
    by_id = {span.span_id: span for span in spans}
    counted = names(spans)
    assert {name: counted[name] for name in ("search", "admit", "merge")} == dict.fromkeys(
        ("search", "admit", "merge"), 1
    )
    assert counted["search shard"] == 2, receiver.tree(found["trace_id"])
    for name in ("second phase", "my ranking"):
        # On a busy machine, a second scorer may take over from one that is late.
        assert counted[name] >= 2, receiver.tree(found["trace_id"])
    (root,) = [span for span in spans if span.name == "search"]
    assert root.parent_id == CALLER[36:52]
    assert root.service == "hedgerow-gateway"
    assert root.attributes["hedgerow.kept"] == "sampled"
    for span in spans:
        parent = by_id.get(span.parent_id)
        match span.name:
            case "search":
                continue
            case "my ranking":
                assert span.service == "hedgerow-worker"
                assert span.scope == "trees"
                assert span.attributes["num_documents"] > 0
                assert parent is not None
                assert parent.name == "second phase"
            case "second phase" | "queue" | "lane" | "work":
                assert parent is not None
                assert parent.name == "search shard"
            case _:
                assert parent is root
    shards = [span.attributes for span in spans if span.name == "search shard"]
    assert [one["hedgerow.outcome"] for one in shards] == ["ok", "ok"]
    assert {one["hedgerow.shard"] for one in shards} == {0, 1}
    assert {one["hedgerow.worker"] for one in shards} == {"worker-0"}
    assert {one["hedgerow.lane"] for one in shards} == {"process"}


async def test_a_trace_is_kept_by_its_outcome(tmp_path: Path, receiver: Receiver) -> None:
    """With a rate of 0: the failed one comes with its reason, the whole ones do not."""
    async with up(tmp_path, tracing(receiver.url)) as one, Caller(one.url) as caller:
        await loaded(caller)
        caller.http.headers["traceparent"] = CALLER  # whose flag does not count
        whole = await caller.found("trees", "amber", rank_profile="mine")
        assert whole["trace_id"] == CALLER[3:35]
        del caller.http.headers["traceparent"]
        failed = (await caller.search("trees", "amber raise", rank_profile="mine")).json()
        spans = await complete(receiver, failed["trace_id"], 7)
        status = (await caller.http.get("/v1/status")).json()["gateway"]["tracing"]
    assert [span.trace_id for span in receiver.spans] == [failed["trace_id"]] * len(spans)
    (root,) = [span for span in spans if span.name == "search"]
    assert root.is_error
    assert root.attributes["hedgerow.kept"] == "failed"
    shards = [span for span in spans if span.name == "search shard"]
    assert all(span.is_error and "no score for this" in span.message for span in shards)
    assert "my ranking" not in names(spans), "what was not sampled is not known to the function"
    assert (status["kept"], status["dropped"], status["spans_dropped"]) == (1, 0, 0)
    # The line that the scorer has logged leads to the trace.
    lines = [line for line in one.lines if "ranking_function_raised" in line]
    assert lines
    assert all(failed["trace_id"] in line for line in lines)


async def test_a_slow_search_shows_where_its_time_went(tmp_path: Path, receiver: Receiver) -> None:
    """In its trace, by the timings of the replies, and in a line with the same parts."""
    environment = tracing(receiver.url) | {"HEDGEROW_GATEWAY__SLOW_MS": "40"}
    async with up(tmp_path, environment) as one, Caller(one.url) as caller:
        await loaded(caller)
        slow = await caller.found("trees", "amber dawdle", rank_profile="mine")
        spans = await complete(receiver, slow["trace_id"], 11)
        await until(lambda: bool(slow_lines(tmp_path, slow["trace_id"])), what="the line")
    (root,) = [span for span in spans if span.name == "search"]
    assert root.attributes["hedgerow.kept"] == "slow"
    second_phases = [span for span in spans if span.name == "second phase"]
    assert len(second_phases) == 2
    by_id = {span.span_id: span for span in spans}
    for span in second_phases:
        assert span.service == "hedgerow-gateway"
        assert span.end_ns - span.start_ns >= 50e6
        parent = by_id[span.parent_id]
        assert parent.start_ns <= span.start_ns <= span.end_ns <= parent.end_ns + 1_000_000
    (line,) = slow_lines(tmp_path, slow["trace_id"])
    assert "dawdle" not in line, "what is asked is not logged"
    said = json.loads(line)
    assert said["trace_id"] == slow["trace_id"]
    assert (said["ok"], said["asked"], said["shards"]) == (2, 2, 2)
    assert [shard["outcome"] for shard in said["slowest"]] == ["ok", "ok"]
    for shard in said["slowest"]:
        assert shard["function_ms"] >= 50
        assert shard["work_ms"] >= shard["function_ms"]
        assert shard["took_ms"] <= said["shards_ms"] <= said["took_ms"]


async def test_fetch_and_enrich_are_parts_of_the_trace(tmp_path: Path, receiver: Receiver) -> None:
    """The user's spans nest in `enrich`, which sees the trace's id."""
    environment = tracing(receiver.url, sample_rate=1)
    async with up(tmp_path, environment) as one, Caller(one.url) as caller:
        await loaded(caller)
        found = await caller.found("trees", "amber", rank_profile="enriching", k=20)
        trace_id = found["trace_id"]
        assert {hit["fields"]["trace"] for hit in found["hits"]} == {trace_id}
        wanted = {"fetch": 1, "fetch shard": 2, "enrich": 2, "my enriching": 2}
        spans = await complete(receiver, trace_id, 15, **wanted)
    by_id = {span.span_id: span for span in spans}
    (fetch,) = [span for span in spans if span.name == "fetch"]
    for name, parent in (
        ("fetch shard", "fetch"),
        ("enrich", "fetch shard"),
        ("my enriching", "enrich"),
    ):
        of_name = [span for span in spans if span.name == name]
        assert len(of_name) == 2, receiver.tree(trace_id)
        assert {by_id[span.parent_id].name for span in of_name} == {parent}
        assert all(fetch.start_ns <= span.start_ns <= fetch.end_ns for span in of_name)


async def test_writes_and_jobs_are_traced(tmp_path: Path, receiver: Receiver) -> None:
    """A load reaches from its caller to each batch that a worker applies; jobs have their own."""
    environment = tracing(receiver.url, sample_rate=1)
    async with up(tmp_path, environment) as one, Caller(one.url) as caller:
        await caller.make("trees", {"title": "text"})
        caller.http.headers["traceparent"] = CALLER
        lines = "".join(json.dumps({"id": f"d{n}", "title": "amber"}) + "\n" for n in range(50))
        assert (await caller.load("trees", lines))["trace_id"] == CALLER[3:35]
        wanted = {"load": 1, "log": 1, "apply": 1, "apply batch": 2}
        spans = await complete(receiver, CALLER[3:35], 5, **wanted)
        assert receiver.tree(CALLER[3:35])[0] == "load"
        (root,) = [span for span in spans if span.name == "load"]
        assert root.parent_id == CALLER[36:52]
        assert root.attributes["hedgerow.accepted"] == 50
        assert {span.name for span in spans} >= {"log", "apply", "apply batch"}
        batches = [span for span in spans if span.name == "apply batch"]
        assert {span.attributes["hedgerow.shard"] for span in batches} == {0, 1}
        assert {(span.service, span.parent_id) for span in batches} == {
            ("hedgerow-worker", root.span_id)
        }
        # Unlike those of a load that is waited for, these statistics are jobs.
        more = "".join(json.dumps({"id": f"e{n}", "title": "birch"}) + "\n" for n in range(200))
        await caller.load("trees", more, wait="logged")
        await until(
            lambda: {"collect_statistics", "sum_statistics"} <= {s.name for s in receiver.spans},
            what="the jobs' spans",
        )
        jobs = [span for span in receiver.spans if span.name == "sum_statistics"]
        assert {(span.service, span.parent_id) for span in jobs} == {("hedgerow-worker", "")}


async def test_both_clients_continue_the_caller_s_trace(tmp_path: Path, receiver: Receiver) -> None:
    """Whatever span is active where a client is used is the parent of the search's."""
    environment = tracing(receiver.url, sample_rate=1)
    async with up(tmp_path, environment) as one, Caller(one.url) as caller:
        await loaded(caller)
        for number, is_async in enumerate((True, False, False), start=1):
            trace_id = TRACE_ID + number
            flags = TraceFlags(TraceFlags.SAMPLED)
            span = NonRecordingSpan(
                SpanContext(trace_id, 0xABC, is_remote=False, trace_flags=flags)
            )
            token = otel_context.attach(trace.set_span_in_context(span))
            try:
                if is_async:
                    async with AsyncClient(one.url) as client:
                        answer = await client.search("trees", "amber", deadline_ms=20_000)
                else:
                    with Client(one.url) as blocking:
                        many = blocking.search_many("trees", ["amber", "cedar"], deadline_ms=20_000)
                    answer = many[0]
            finally:
                otel_context.detach(token)
            assert answer.trace_id == f"{trace_id:032x}"
            spans = await complete(receiver, answer.trace_id, 1, search=1)
            roots = [span for span in spans if span.name == "search"]
            assert {span.parent_id for span in roots} == {f"{0xABC:016x}"}
        with Client(one.url) as blocking:
            answer = blocking.search("trees", "amber", deadline_ms=20_000)
            assert answer.trace_id != f"{trace_id:032x}"


async def test_a_receiver_that_hangs_costs_nothing_but_spans(tmp_path: Path) -> None:
    """Searches are answered as ever, spans are counted as dropped, and the end is prompt."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        server.settimeout(0.1)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        environment = tracing(url, sample_rate=1, max_queued_spans=20, timeout_s=60)
        async with up(tmp_path, environment) as one, Caller(one.url) as caller:
            await loaded(caller)

            async def drops() -> bool:
                found = await caller.found(
                    "trees", "amber", rank_profile="mine", deadline_ms=30_000
                )
                assert found["coverage"]["is_full"]
                assert found["took_ms"] < 20_000  # a third of what the exporter waits
                status = (await caller.http.get("/v1/status")).json()["gateway"]["tracing"]
                return bool(status["spans_dropped"] > 20 and status["spans_waiting"] <= 20)

            await until(drops, what="spans are dropped")
            began = time.monotonic()
            assert await one.stop() == 0, one.output
            assert time.monotonic() - began < 15
            assert "did not drain" not in one.output


async def test_tracing_off_names_no_trace(tmp_path: Path) -> None:
    """By default: no field has an id, and a slow search is logged all the same."""
    environment = {"HEDGEROW_GATEWAY__SLOW_MS": "0.001"}
    async with up(tmp_path, environment) as one, Caller(one.url) as caller:
        await loaded(caller)
        caller.http.headers["traceparent"] = CALLER
        assert (await caller.found("trees", "amber"))["trace_id"] is None
        assert (await caller.http.get("/v1/status")).json()["gateway"]["tracing"] is None
        await until(lambda: bool(slow_lines(tmp_path)), what="the line")
        assert CALLER[3:35] not in slow_lines(tmp_path)[0]
