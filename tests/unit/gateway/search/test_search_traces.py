"""The traces of searches: which are kept, and what their spans say; over scripted shards."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from hedgerow.common.errors import HedgerowError, InsufficientCoverageError
from hedgerow.common.observability.current_trace import CURRENT
from hedgerow.common.observability.span import Span
from hedgerow.common.settings.tail import HedgingSettings
from hedgerow.common.settings.tracing import TracingSettings
from hedgerow.common.wire.messages import unpack_request
from hedgerow.common.wire.trace_context import TraceContext, hex_id_of
from hedgerow.gateway.policies.tail_sampling import TailSampling
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.search_tracer import GATHER_S, NUM_TOGETHER, SearchTracer
from hedgerow.gateway.search.searcher import Searcher
from hedgerow.gateway.search.walks import Walks
from tests.support.virtual_time import run_virtually
from tests.unit.support.scripted import Script, ScriptedTransport
from tests.unit.support.searchers import COLLECTION, searcher_over

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EPOCH_NS = 1_700_000_000_000_000_000
OK = Script(delays_s=(0.010,), hits=(("a", 1.0),), fetch={"a": {"id": "a"}})


class Sink:
    """Keeps the spans."""

    def __init__(self) -> None:
        self.traces: list[list[Span]] = []

    def offer(self, spans: Sequence[Span]) -> None:
        """Keep one trace's."""
        self.traces.append(list(spans))


class Scene:
    """A searcher that traces, and what came of it."""

    def __init__(self, *scripts: Script, drawn: float = 0.5, **settings: Any) -> None:
        self.transport = ScriptedTransport(dict(enumerate(scripts)))
        self.sink = Sink()
        loop = asyncio.get_running_loop()
        self.tracer = SearchTracer(
            TailSampling(TracingSettings(enabled=True, **settings), lambda: drawn),
            self.sink,
            wall_clock_ns=lambda: EPOCH_NS + int(loop.time() * 1e9),
        )
        self.do_workers_trace = True
        self.searcher: Searcher = searcher_over(
            self.transport,
            [10] * len(scripts),
            num_live=2,
            hedging=HedgingSettings(),
            walks=Walks(100.0, self.tracer, lambda: self.do_workers_trace),
        )

    async def search(self, **changes: Any) -> Any:
        """Search, and have the spans made; returns the result, or the error."""
        found = await self.begin(**changes)
        self.tracer.flush()
        return found

    async def begin(self, **changes: Any) -> Any:
        """Search; returns the result, or the error."""
        asked = {"query": "x", "fields": False, "deadline_ms": 300.0, **changes}
        query = SearchQuery("things", **asked)
        try:
            return await self.searcher.search(query, COLLECTION)
        except HedgerowError as error:
            return error

    @property
    def spans(self) -> dict[str, list[Span]]:
        """The spans of the one trace that was kept, by name."""
        (trace,) = self.sink.traces
        return {
            name: [span for span in trace if span.name == name]
            for name in {span.name for span in trace}
        }


def kept(scene: Scene) -> list[object]:
    """Why each trace was kept."""
    return [trace[0].attributes["hedgerow.kept"] for trace in scene.sink.traces]


@pytest.mark.parametrize(
    ("scripts", "changes", "drawn", "reason"),
    [
        ((OK, OK), {}, 0.5, []),
        ((OK, OK), {}, 0.0, ["sampled"]),
        ((OK, Script(delays_s=())), {}, 0.5, ["partial"]),
        ((OK, Script(kind="failed")), {}, 0.0, ["partial"]),
        ((Script(delays_s=()), Script(delays_s=())), {}, 0.5, ["failed"]),
        ((OK, Script(delays_s=())), {"minimum_coverage": 1.0}, 0.5, ["failed"]),
        ((OK, Script(delays_s=(0.2,))), {}, 0.5, ["slow"]),
        ((OK, OK), {"traceparent": CALLER}, 0.5, []),
        # The query's own fault: a caller may send as many as it likes.
        ((OK, OK), {"query": "(", "syntax": "strict"}, 0.5, []),
    ],
)
def test_the_outcome_decides(
    scripts: tuple[Script, ...], changes: dict[str, Any], drawn: float, reason: list[str]
) -> None:
    """Partial, failed and slow searches are kept; of the others, those that were drawn."""

    async def scenario() -> list[object]:
        scene = Scene(*scripts, drawn=drawn)
        await scene.search(**changes)
        return kept(scene)

    assert run_virtually(scenario()) == reason


def test_a_hedged_search_is_kept() -> None:
    """A second copy is enough, though it answered in time."""

    async def scenario() -> list[Span]:
        scene = Scene(OK, OK)
        for _ in range(100):
            await scene.search()
        assert scene.sink.traces == []
        scene.transport.scripts[1] = Script(delays_s=(0.09,))
        scene.transport.hedge_scripts[1] = OK
        await scene.search()
        assert kept(scene) == ["hedged"]
        return scene.spans["search shard"]

    first, second = run_virtually(scenario())
    assert "hedgerow.is_hedge" not in first.attributes
    assert second.attributes["hedgerow.is_hedge"] is True
    assert second.attributes["hedgerow.hedged_after_us"] > 0  # type: ignore[operator]


def test_a_caller_that_leaves_does_not_have_its_trace_kept() -> None:
    """It may leave as often as it likes; what was sampled says that it has left."""

    async def scenario(drawn: float) -> Scene:
        scene = Scene(OK, Script(delays_s=()), drawn=drawn)
        task = asyncio.create_task(scene.search())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return scene

    assert run_virtually(scenario(0.5)).sink.traces == []
    (root,) = run_virtually(scenario(0.0)).spans["search"]
    assert root.error == "the caller has left"
    assert root.ended_ns - root.started_ns == pytest.approx(50e6, rel=0.01)


def test_the_spans_of_a_search_are_one_tree() -> None:
    """One root below the caller's span, all else below it, and no child outlasts its parent."""

    async def scenario() -> list[Span]:
        scene = Scene(OK, Script(delays_s=()), OK)
        await scene.search(fields=True, traceparent=CALLER)
        (trace,) = scene.sink.traces
        return trace

    spans = run_virtually(scenario())
    by_id = {span.context.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    assert {f"{span.context.trace_id:032x}" for span in spans} == {CALLER[3:35]}
    root = spans[0]
    assert f"{root.parent_id:016x}" == CALLER[36:52]
    assert root.has_remote_parent
    for span in spans[1:]:
        parent = by_id[span.parent_id]
        assert parent.started_ns <= span.started_ns <= span.ended_ns <= parent.ended_ns + 1000
    assert [span.name for span in spans if span.parent_id == root.context.span_id] == [
        "admit",
        *["search shard"] * 3,
        "merge",
        "fetch",
    ]
    silent = spans[[span.attributes.get("hedgerow.shard") for span in spans].index(1)]
    assert silent.attributes["hedgerow.outcome"] == "timed_out"
    assert silent.error == "no reply by the deadline"


def test_workers_get_the_context_if_all_of_them_take_it() -> None:
    """Those of a profile with a function; one that cannot read it is not sent it."""

    async def scenario() -> tuple[list[bytes], list[Span]]:
        scene = Scene(OK, OK, drawn=0.0)
        await scene.search(rank_profile="ranked")
        await scene.search()
        scene.do_workers_trace = False
        await scene.search(rank_profile="ranked")
        return scene.transport.messages, [trace[0] for trace in scene.sink.traces]

    messages, roots = run_virtually(scenario())
    with_context, *others = (unpack_request(message) for message in messages)
    assert [other.trace for other in others] == [None, None]
    assert with_context.trace is not None
    context = TraceContext.unpack(with_context.trace)
    assert context == roots[0].context
    assert context is not None
    assert context.is_sampled


def test_an_answer_names_its_trace() -> None:
    """Answers, and refusals for want of coverage, name a trace, kept or not, if tracing is on."""

    async def scenario() -> None:
        scene = Scene(OK, Script(delays_s=()))
        found = await scene.search(traceparent=CALLER)
        assert found.to_json()["trace_id"] == found.trace_id == CALLER[3:35]
        refused = await scene.search(traceparent=CALLER, minimum_coverage=1.0)
        assert isinstance(refused, InsufficientCoverageError)
        assert refused.result.trace_id == CALLER[3:35]
        assert hex_id_of(CURRENT.get()) == CALLER[3:35], "the lines that the task logs carry it"
        untraced = searcher_over(ScriptedTransport({0: OK}), [10])
        result = await untraced.search(SearchQuery("things", "x", deadline_ms=300.0), COLLECTION)
        assert result.to_json()["trace_id"] is None

    run_virtually(scenario())


def test_the_spans_of_several_searches_are_made_together() -> None:
    """As soon as there are enough, or the first has waited for long enough; in order."""

    async def scenario() -> tuple[list[int], list[Any], list[str]]:
        scene = Scene(OK, OK, drawn=0.0)
        found, num_made = [], []
        for _ in range(NUM_TOGETHER + 2):
            found.append((await scene.begin()).trace_id)
            num_made.append(len(scene.sink.traces))
        await asyncio.sleep(GATHER_S)
        num_made.append(len(scene.sink.traces))
        return num_made, found, [trace[0].context.hex_id for trace in scene.sink.traces]

    num_made, found, made = run_virtually(scenario())
    assert num_made[:-1] == [0] * (NUM_TOGETHER - 1) + [NUM_TOGETHER] * 3
    assert num_made[-1] == NUM_TOGETHER + 2
    assert made == found


@pytest.mark.parametrize("changes", [{"minimum_coverage": 1.0}, {"fields": True}])
def test_large_searches_do_not_wait_for_others(changes: dict[str, Any]) -> None:
    """A fetch's replies, and an error's answer, are not held for the sake of the trace."""

    async def scenario() -> int:
        scene = Scene(OK, Script(delays_s=()), drawn=0.0)
        await scene.begin(**changes)
        return len(scene.sink.traces)

    assert run_virtually(scenario()) == 1
