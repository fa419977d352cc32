"""Loading in pieces: what is sent again, what is said to be safe, and how a load ends early."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hedgerow.common.errors import HedgerowError, UnavailableError
from hedgerow.gateway.cli.loading import loader
from hedgerow.gateway.cli.loading.lines import Line
from hedgerow.gateway.cli.loading.loader import (
    APPLIED_WITHIN_S,
    GIVE_UP_AFTER_S,
    Loader,
    Rejected,
    pieces,
)
from hedgerow.gateway.client import Client
from tests.unit.support.films import Films


def make_loader(answer: Any, **told: Any) -> Loader:
    """Load into films, through `answer`."""
    client = Client("http://gateway", transport=httpx.MockTransport(answer))
    values: dict[str, Any] = {
        "wait": "applied",
        "on_rejected": lambda _: None,
        "on_progress": lambda _: None,
        "pause": lambda _: None,
        **told,
    }
    return Loader(client, "films", **values)


def unavailable(wait_s: int = 1) -> httpx.Response:
    """Answer that no shard can answer now."""
    headers = {"Retry-After": str(wait_s)}
    return httpx.Response(503, json={"detail": "Redis does not answer"}, headers=headers)


def no_room() -> httpx.Response:
    """Answer that a disk is full."""
    problem = {"detail": "w0: 0 MB free", "shortages": [{"where": "w0"}], "accepted": 0}
    report = {"rejected": [], "rejected_total": 0, "applied": False}
    return httpx.Response(507, json={**problem, **report}, headers={"Retry-After": "5"})


def test_ctrl_c_says_how_far_it_got(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent is counted, and the same command goes on."""
    monkeypatch.setattr(loader, "PIECE_LINES", 2)
    films = Films()

    def lines() -> Iterator[Line]:
        for number in range(1, 6):
            yield Line(number, b'{"id": "%d"}' % number)
        raise KeyboardInterrupt

    with pytest.raises(HedgerowError) as ended:
        make_loader(films).load(lines())
    assert str(ended.value) == (
        "interrupted; 4 documents of those up to line 4 are safe. To go on, run the same command "
        "again: what is there already does not change"
    )
    assert len(films.documents) == 4


def test_ctrl_c_while_the_gateway_is_away_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The piece that waits to be sent again gives up at once, and what was safe is said."""
    monkeypatch.setattr(loader, "PIECE_LINES", 1)
    refused = threading.Event()

    def away(_request: httpx.Request) -> httpx.Response:
        refused.set()
        return unavailable(3600)

    def lines() -> Iterator[Line]:
        yield Line(1, b'{"id": "1"}')
        yield Line(2, b'{"id": "2"}')
        assert refused.wait(10.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(loader, "LONGEST_PAUSE_S", 3600.0)
    with pytest.raises(HedgerowError, match=r"^interrupted; 0 documents"):
        make_loader(away, pause=None).load(lines())


def test_ctrl_c_while_documents_are_applied_says_that_they_are_safe() -> None:
    """All were accepted, and only cannot be found yet."""

    def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("wait") == "applied":
            raise KeyboardInterrupt
        return Films()(request)

    with pytest.raises(HedgerowError) as ended:
        make_loader(interrupted).load(iter([Line(1, b'{"id": "1"}')]))
    assert str(ended.value) == (
        "interrupted; 1 document is safe, and will be found as soon as the workers have applied it"
    )


def test_a_piece_that_fails_for_now_is_sent_again() -> None:
    """503 is waited out, longer each time and at least as long as the gateway says."""
    films = Films()
    films.failures = [unavailable(1), unavailable(1), unavailable(4)]
    paused: list[float] = []
    lines = [Line(1, b'{"id": "1"}')]
    assert make_loader(films, pause=paused.append).load(lines).accepted == 1
    assert films.documents == [{"id": "1"}]
    assert paused == sorted(paused)
    assert paused[0] >= 1
    assert paused[2] >= 4


def test_a_load_that_cannot_go_on_says_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is up, the error names the lines and how many documents went in before."""
    monkeypatch.setattr(loader, "GIVE_UP_AFTER_S", 0.0)
    monkeypatch.setattr(loader, "PIECE_LINES", 2)
    films = Films()
    lines = [Line(number, b'{"id": "%d"}' % number) for number in range(1, 6)]

    def answer(request: httpx.Request) -> httpx.Response:
        return unavailable() if b'"3"' in request.read() else films(request)

    with pytest.raises(HedgerowError, match=r"line 3 and line 4, 2 documents .* Redis does") as one:
        make_loader(answer).load(lines)
    assert not isinstance(one.value, UnavailableError)
    assert [document["id"] for document in films.documents] == ["1", "2"]


def test_a_lack_of_room_is_waited_out_and_told() -> None:
    """507 is tried again after its Retry-After, and the caller hears why it takes long."""
    films = Films()
    films.failures = [no_room(), no_room()]
    told: list[str] = []
    paused: list[float] = []
    loading = make_loader(
        films, pause=paused.append, on_waiting=lambda error, _left_s: told.append(str(error))
    )
    assert loading.load([Line(1, b'{"id": "1"}')]).accepted == 1
    assert told == ["w0: 0 MB free"] * 2
    assert paused == [5.0, 5.0]


def test_documents_that_no_replica_applies_are_waited_for_and_told() -> None:
    """When all is logged and not found yet, the caller hears why, and how long it may take."""
    films = Films()
    told: list[tuple[str, float]] = []
    late = [unavailable(), unavailable()]

    def answer(request: httpx.Request) -> httpx.Response:
        return late.pop() if late and not request.read() else films(request)

    loading = make_loader(
        answer, on_waiting=lambda error, left_s: told.append((str(error), left_s))
    )
    assert loading.load([Line(1, b'{"id": "1"}')]).accepted == 1
    assert [reason for reason, _ in told] == ["Redis does not answer"] * 2
    assert all(GIVE_UP_AFTER_S < left_s <= APPLIED_WITHIN_S for _, left_s in told)


def test_a_lack_of_room_that_lasts_ends_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded time the error says how far the load got, and what runs out."""
    monkeypatch.setattr(loader, "GIVE_UP_AFTER_S", 0.0)
    with pytest.raises(HedgerowError, match=r"line 1 .* 0 documents are accepted.* 0 MB free"):
        make_loader(lambda _: no_room()).load([Line(1, b'{"id": "1"}')])


def test_documents_that_wait_for_room_are_said_to_be_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all is logged and a full disk keeps it from being applied, the end of patience says so.

    Room is waited for as long as before the last piece, and not as long as slow replicas.
    """
    monkeypatch.setattr(loader, "GIVE_UP_AFTER_S", 0.0)
    films = Films()

    def answer(request: httpx.Request) -> httpx.Response:
        return films(request) if request.read() else no_room()

    with pytest.raises(HedgerowError, match=r"1 document is safe, but .* 0 MB free"):
        make_loader(answer).load([Line(1, b'{"id": "1"}')])


def test_lines_that_are_no_documents_are_never_sent() -> None:
    """What the source already knows to be of no use is reported and not sent."""
    films = Films()
    rejected: list[Rejected] = []
    lines = [Line(1, b'{"id": "1"}'), Line(2, b"x", "is longer than a line may be")]
    make_loader(films, on_rejected=rejected.append).load(lines)
    assert rejected == [Rejected(2, "is longer than a line may be", b"x")]
    assert films.documents == [{"id": "1"}]


def test_pieces_are_bounded_by_lines_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No piece has more lines or bytes than the bounds, and all lines are there in order."""
    monkeypatch.setattr(loader, "PIECE_LINES", 7)
    monkeypatch.setattr(loader, "PIECE_BYTES", 100)
    lines = [Line(number, b"x" * (number * 37 % 60)) for number in range(1, 200)]
    cut = list(pieces(lines))
    assert [line for piece in cut for line in piece] == lines
    assert all(0 < len(piece) <= 7 for piece in cut)
    assert all(sum(len(line.document) for line in piece) <= 100 for piece in cut)
    huge = [Line(1, b"x" * 500), Line(2, b"y")]
    assert list(pieces(huge)) == [[huge[0]], [huge[1]]]
