"""The demo is a test: a step that does not show what it claims ends it."""

import io
import itertools
import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from hedgerow.common.errors import HedgerowError
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.cli import demo_story
from hedgerow.gateway.cli.demo_story import DEADLINE_MS, DemoStory, Interrupted, Victim
from hedgerow.gateway.client import Client, LoadAnswer, SearchAnswer
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.result import Hit, SearchResult
from hedgerow.gateway.shapes.answer import ShardDetail, TotalHits
from tests.support.sample_results import as_answer

SHARDS = range(8)
VICTIM_SHARDS = [4, 5]


def _result(outcome: Outcome, took_ms: float = 20.0) -> SearchAnswer:
    """An answer in which the victim's shards ended with `outcome`, and the others well."""
    outcomes = dict.fromkeys(Outcome, 0)
    outcomes[Outcome.OK] = 6
    outcomes[outcome] += 2
    is_ok = outcome is Outcome.OK
    result = SearchResult(
        hits=[Hit("json.loads", 1.0, 0, {"name": "loads", "doc": "Deserialise."})],
        total_hits=TotalHits(1, "eq"),
        coverage=coverage_of(800 if is_ok else 600, 800, {} if is_ok else {outcome.value: 2}),
        outcomes=outcomes,
        detail=[
            ShardDetail(shard, outcome if shard in VICTIM_SHARDS else Outcome.OK, took_us=900)
            for shard in SHARDS
        ],
        took_ms=took_ms,
        deadline_ms=DEADLINE_MS,
    )
    return as_answer(result)


class ScriptedGateway:
    """Answers as a gateway would while a worker is killed and returns, or almost so."""

    def __init__(self) -> None:
        """Nothing is killed yet."""
        self.num_asked_since_kill = -1
        self.after_kill: list[SearchAnswer] = [
            *[_result(Outcome.TIMED_OUT, DEADLINE_MS)] * 5,
            _result(Outcome.BREAKER_OPEN),
            _result(Outcome.BREAKER_OPEN),
            _result(Outcome.OK),
        ]
        self.before_kill = _result(Outcome.OK)

    def kill(self) -> int:
        """Kill the worker."""
        self.num_asked_since_kill = 0
        return 4711

    def put_collection(self, _name: str, **_: object) -> None:
        """Take a collection."""

    def index(self, _name: str, lines: Iterable[bytes], **_: object) -> LoadAnswer:
        """Take documents."""
        return LoadAnswer(sum(1 for _ in lines), [], 0, applied=True)

    def search(self, *_: object, **__: object) -> SearchAnswer:
        """Answer as the script says; its last answer again and again."""
        if self.num_asked_since_kill < 0:
            return self.before_kill
        number = min(self.num_asked_since_kill, len(self.after_kill) - 1)
        self.num_asked_since_kill += 1
        return self.after_kill[number]

    def status(self) -> Any:
        """Show breakers that are closed."""
        return SimpleNamespace(
            shards=[SimpleNamespace(shard=shard, breaker="closed") for shard in SHARDS]
        )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus of one document, and no pauses."""

    class OneDocument:
        num_files = 1
        num_read = 1

        def __iter__(self) -> Any:
            return iter([{"id": "json.loads"}])

    monkeypatch.setattr(demo_story, "Corpus", OneDocument)
    monkeypatch.setattr(demo_story, "_PAUSE_S", 0.0)


def _tell(gateway: ScriptedGateway, stopped: threading.Event | None = None) -> str:
    """Tell the whole story; what was printed."""
    shown = io.StringIO()
    story = DemoStory(
        Console(file=shown, width=100),
        cast("Client", gateway),
        stopped or threading.Event(),
        itertools.count().__next__,  # each look at the clock takes a second
    )
    story.tell(Victim("worker-2", VICTIM_SHARDS, gateway.kill))
    return shown.getvalue()


def test_the_story_is_told_in_order() -> None:
    """Each question, the death, the breakers' opening and the recovery are shown, in that order."""
    shown = _tell(ScriptedGateway())
    told = [
        "1 document can be found",
        *demo_story.QUESTIONS,
        "kill -9 4711",
        "2 timed_out",
        "2 breaker_open",
        "Coverage is 100 % again",
    ]
    places = [shown.index(text) for text in told]
    assert places == sorted(places)


def _nothing_found(gateway: ScriptedGateway) -> None:
    gateway.before_kill.hits.clear()


def _death_goes_unseen(gateway: ScriptedGateway) -> None:
    gateway.after_kill = [_result(Outcome.OK)]


def _no_breaker_opens(gateway: ScriptedGateway) -> None:
    gateway.after_kill = [_result(Outcome.TIMED_OUT, DEADLINE_MS)]


def _open_breaker_costs_the_deadline(gateway: ScriptedGateway) -> None:
    gateway.after_kill[5] = _result(Outcome.BREAKER_OPEN, DEADLINE_MS)


def _never_whole_again(gateway: ScriptedGateway) -> None:
    gateway.after_kill.pop()


def _always_late(gateway: ScriptedGateway) -> None:
    gateway.before_kill = _result(Outcome.OK, DEADLINE_MS * 2)


def _never_whole_before(gateway: ScriptedGateway) -> None:
    gateway.before_kill = _result(Outcome.FAILED)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_nothing_found, "nothing was found"),
        (_death_goes_unseen, "the coverage is 1"),
        (_no_breaker_opens, "no breaker opened"),
        (_open_breaker_costs_the_deadline, "the breakers are open, and it took 300 ms"),
        (_never_whole_again, "stays partial"),
        (_always_late, "missed their deadline"),
        (_never_whole_before, "no answer was complete"),
    ],
)
def test_a_step_that_does_not_show_its_claim_ends_it(
    spoil: Callable[[ScriptedGateway], None], says: str
) -> None:
    """Whatever a step should have shown and did not is the error that ends the demo."""
    gateway = ScriptedGateway()
    spoil(gateway)
    with pytest.raises(HedgerowError, match=says):
        _tell(gateway)


def test_a_user_who_has_seen_enough_is_heard() -> None:
    """Ctrl-C ends the story at its next step."""
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Interrupted):
        _tell(ScriptedGateway(), stopped)
