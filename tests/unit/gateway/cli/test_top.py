"""`gateway top`: what the stream tells is in the picture."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from hedgerow.common.errors import ForbiddenError, UnavailableError
from hedgerow.gateway.cli.event_stream import Message, follow
from hedgerow.gateway.cli.top import first_view
from hedgerow.gateway.cli.top_view import TopView
from hedgerow.gateway.client.link import Link
from tests.support.fake_gateway import EMPTY_STATUS

POINT: dict[str, Any] = {
    "at_ms": 1000,
    "full": 40,
    "partial": 10,
    "insufficient": 0,
    "refused": 2,
    "p50_ms": 3.21,
    "p99_ms": 17.5,
    "coverage": 0.975,
    "outcomes": {"ok": 390, "timed_out": 10},
    "in_flight": 3,
    "limit": 64,
    "hedges_sent": 0,
    "hedges_won": 0,
}
EVENT = {"id": 1, "at_ms": 1000, "kind": "worker", "level": "bad", "text": "w-b has gone"}
LANES = {
    "process": {"busy": 1, "capacity": 2, "waiting": 4, "crashes": 3},
    "thread": {"busy": 0, "capacity": 8, "lost": 1},
    "loop": {"lags": 0, "max_lag_ms": 12.5},
}
WORKER = {
    "id": "w-a",
    "pid": 4711,
    "lanes": LANES,
    "log_backlog": {"1": 77},
    "on_probation": True,
    "probation": {"reason": "slower than others"},
    "ledger": {"answered": {"count": 123456}},
}


def shard(number: int, **changes: Any) -> dict[str, Any]:
    """A shard that is well."""
    well = {"breaker": "closed", "backlog": 0, "workers": ["w-a"], "documents": {"films": 1500}}
    return {"shard": number, **well, **changes}


STATUS = {
    **EMPTY_STATUS,
    "shards": [shard(0), shard(1, breaker="open", workers=[], backlog=12)],
    "workers": [WORKER],
}
HISTORY = {"points": [POINT] * 30, "events": [EVENT]}


def drawn(view: TopView, width: int = 110, height: int = 40) -> str:
    """The view as text."""
    console = Console(width=width, height=height, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(view)
    console.file.close()
    return console.export_text()


def test_the_state_is_in_the_picture() -> None:
    """Figures, shards, workers and events."""
    view = first_view(iter([Message("history", HISTORY), Message("status", STATUS)]))
    text = drawn(view)
    for words in (
        "2 shards on 1 worker; valkey 9.1.0",
        "50.0 searches/s",
        "p50 3.2 ms",
        "p99 17.5 ms",
        "coverage 97.5 %",
        "in flight 3/64",
        "refused 2.0/s",
        "open",
        "1/2 4 waiting 3 crashed",
        "0/8 1 lost",
        "123,456",
        "on probation: slower than others",
        "w-b has gone",
    ):
        assert words in text, words
    row = next(line for line in text.splitlines() if line.split()[:2] == ["1", "open"])
    assert row.split() == ["1", "open", "12", "77", "1,500", "none"]


def test_it_names_the_gateway_whose_figures_it_shows() -> None:
    """If there are several: each has figures of its own."""
    gateways = [{"id": "other", "pid": 1}, {"id": "g", "pid": 4321}]
    status = {**STATUS, "gateways": gateways}
    view = first_view(iter([Message("history", HISTORY), Message("status", status)]))
    assert "gateway 0.1.0 (pid 4321), one of 2" in drawn(view)
    view.take(Message("status", {**STATUS, "gateways": gateways[1:]}))
    assert "one of" not in drawn(view)


def test_later_messages_replace_earlier_ones() -> None:
    """A point is added, a status replaces the last, and an unknown message changes nothing."""
    view = first_view(iter([Message("history", HISTORY), Message("status", STATUS)]))
    for _ in range(5):
        view.take(Message("point", {**POINT, "full": 90}))
    view.take(Message("status", {**STATUS, "redis": {"connected": False}}))
    view.take(Message("news", {}))
    text = drawn(view)
    assert "100.0 searches/s" in text
    assert "Redis does not answer" in text


def test_shards_with_trouble_are_shown_first_if_not_all_fit() -> None:
    """A terminal of 24 lines shows a hundred shards' worst."""
    view = TopView(is_live=True)
    shards = [shard(number) for number in range(100)]
    shards[93] = shard(93, breaker="open")
    view.take(Message("history", HISTORY))
    view.take(Message("status", {**STATUS, "shards": shards}))
    text = drawn(view, height=24)
    assert any(line.split()[:2] == ["93", "open"] for line in text.splitlines())
    assert "more, all well" in text
    assert len(text.rstrip().splitlines()) <= 24


def test_text_from_elsewhere_cannot_write_to_the_terminal() -> None:
    """Control characters in an event are shown, not sent."""
    view = first_view(iter([Message("history", HISTORY), Message("status", STATUS)]))
    view.take(Message("event", {**EVENT, "text": "a\x1b]0;title\x07b"}))
    assert "\x1b]" not in drawn(view)


def test_a_stream_that_ends_before_a_status_is_an_error() -> None:
    """The command fails instead of printing an empty picture."""
    with pytest.raises(UnavailableError, match="ended"):
        first_view(iter([Message("history", HISTORY)]))


@pytest.fixture
def answers() -> Iterator[dict[str, Any]]:
    """What a server on this machine answers: `status`, `body`; its `url`, what it was `asked`."""
    script: dict[str, Any] = {"status": 200, "body": b""}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script["asked"] = (self.path, self.headers["Authorization"])
            self.send_response(script["status"])
            self.end_headers()
            self.wfile.write(script["body"])

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    script["url"] = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_messages_are_read_as_they_come(answers: dict[str, Any]) -> None:
    """Each with its name and data; the rest of the format is passed over."""
    answers["body"] = (
        b'retry: 2000\n\nevent: history\ndata: {"points":[]}\n\n: a comment\n\n'
        b'event: status\ndata: {"a":"event: b"}\n\n'
    )
    link = Link(f"{answers['url']}/prefix", "s3cret")
    assert list(follow(link)) == [
        Message("history", {"points": []}),
        Message("status", {"a": "event: b"}),
    ]
    assert answers["asked"] == ("/prefix/v1/events", "Bearer s3cret")


def test_a_refusal_is_its_error(answers: dict[str, Any]) -> None:
    """The command prints the refusal, as every other command does."""
    answers["status"] = 403
    answers["body"] = json.dumps({"detail": "key 'k' lacks the right 'admin'"}).encode()
    with pytest.raises(ForbiddenError, match="lacks the right"):
        list(follow(Link(answers["url"])))


def test_no_gateway_is_an_error_that_names_the_url() -> None:
    """The command names the URL, and prints no traceback."""
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:9"):
        list(follow(Link("http://127.0.0.1:9")))
