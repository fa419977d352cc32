"""The parts of the attack ring that need no cluster: seeds, raw answers, contract, table."""

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.hostile import report
from tests.hostile.attack import Attack
from tests.hostile.cluster import AS_IT_COMES, Cluster
from tests.hostile.everything import EVERYTHING, in_order
from tests.hostile.generators import MAKERS, mixed
from tests.hostile.generators.messages import _commands
from tests.hostile.normal_client import sample_of
from tests.hostile.oracle import Contract
from tests.hostile.sockets import Answer, MalformedAnswerError, answers_in
from tests.hostile.target import Target
from tests.hostile.verdict import Bounds, Memory, Observation, Sample, judge

CONTRACT = Contract(frozenset({200, 204, 400, 503, 507}), frozenset({"urn:problem-type:a:b"}))
PROBLEM = b'{"type":"urn:problem-type:a:b","title":"t","status":400,"detail":"d"}'
KIND = {"content-type": "application/problem+json"}


def target(seed: int = 1) -> Target:
    """A target that does not exist."""
    cluster = Cluster(AS_IT_COMES, Path("/nowhere"), host="127.0.0.1", port=80)
    return Target(cluster, Random(seed), is_full=False, folder=Path("/nowhere"))


@pytest.mark.parametrize("name", [*MAKERS, "mix"])
def test_a_seed_repeats_its_cases(name: str) -> None:
    """The same seed makes the same conversation, another one another."""
    make = MAKERS.get(name, mixed)
    cases = [make(Random(f"7:{number}"), target()) for number in range(60)]
    assert cases == [make(Random(f"7:{number}"), target()) for number in range(60)]
    assert len({case.parts for case in cases}) > 30


def test_a_seed_repeats_its_messages() -> None:
    """Every kind of message can be made; those for queries that may be under way are not."""
    messages = [command for _ in range(500) for command in _commands(Random(_), "gateway")]
    assert {words[0] for words in messages} == {"RPUSH", "PUBLISH", "HSET"}


def test_every_attack_is_in_the_ring_once() -> None:
    """Names are unique; attacks on equal grounds follow each other, but the longest come last."""
    names = [attack.name for attack in EVERYTHING]
    assert len(names) == len(set(names))
    long = tuple(attack for attack in EVERYTHING if attack.max_s > 200)
    assert EVERYTHING[-len(long) :] == long != ()
    grounds = [attack.ground for attack in EVERYTHING[: -len(long)]]
    changes = sum(before != after for before, after in pairwise(grounds))
    assert changes == len(set(grounds)) - 1
    assert in_order(reversed(EVERYTHING))[0].ground == AS_IT_COMES


def test_answers_are_split_where_they_end() -> None:
    """Answers are split by their lengths; an incomplete one stays."""
    raw = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nno"
    )
    found, rest = answers_in(raw)
    assert [(answer.status, answer.body) for answer in found] == [(200, b"ok"), (204, b"")]
    assert rest.endswith(b"\r\n\r\nno")
    assert rest.startswith(b"HTTP/1.1 400")


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """An answer without a length is whole when the connection is closed."""
    raw = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nInvalid"
    assert answers_in(raw) == ([], raw)
    assert [answer.body for answer in answers_in(raw, is_end=True)[0]] == [b"Invalid"]


@pytest.mark.parametrize("raw", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"])
def test_what_is_no_answer_is_an_error(raw: bytes) -> None:
    """Anything but HTTP is not taken for an answer."""
    with pytest.raises(MalformedAnswerError):
        answers_in(raw)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"content-type": "application/json"}, b'{"a":1}'),
        Answer(204),
        Answer(400, KIND, PROBLEM),
        Answer(400, {"content-type": "text/plain"}, b"Invalid HTTP request received."),
    ],
)
def test_documented_answers_pass(answer: Answer) -> None:
    """Answers that docs/http.md describes pass."""
    assert CONTRACT.complaint(answer) == ""


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (Answer(500, KIND, PROBLEM), "500"),
        (Answer(502, KIND, PROBLEM), "502"),
        (Answer(418, KIND, PROBLEM), "not documented"),
        (Answer(504, KIND, PROBLEM), "not documented"),
        (Answer(400, {"content-type": "text/plain"}, b"no"), "no problem"),
        (Answer(400, {"content-type": "application/json"}, PROBLEM), "no problem"),
        (Answer(400, KIND, PROBLEM.replace(b"a:b", b"a:c")), "not documented"),
        (Answer(503, KIND, PROBLEM), "says that it is 400"),
        (Answer(200, {"content-type": "application/json"}, b'{"a":NaN}'), "JSON"),
        (Answer(200, {"content-type": "application/json"}, b"{"), "JSON"),
        (Answer(200, {"content-type": "application/json"}, b"[" * 100_000), "JSON"),
    ],
)
def test_other_answers_do_not(answer: Answer, word: str) -> None:
    """A failure, an undocumented status, a problem that is none, and broken JSON are found."""
    assert word in CONTRACT.complaint(answer)


def test_the_contract_is_that_of_the_page() -> None:
    """The statuses and types of problems that docs/http.md names are read from it."""
    contract = Contract.read()
    assert {200, 204, 400, 404, 413, 429, 503, 504} <= contract.statuses
    assert "urn:problem-type:hedgerow:bad-request" in contract.problems


def test_a_hit_without_fields_is_seen() -> None:
    """An answer is incomplete when a hit lacks fields that it should have."""
    body = b'{"hits":[{"fields":{"a":1}},{"fields":%b}],"coverage":{"fraction":0.5}}'
    assert sample_of(200, body % b"{}", 9.0) == Sample(200, 9.0, 0.5, has_fields=True)
    assert sample_of(200, body % b"null", 9.0) == Sample(200, 9.0, 0.5, has_fields=False)
    assert sample_of(503, b"", 9.0) == Sample(503, 9.0)


async def _nothing(_target: Target) -> list[str]:
    return []


def test_the_measured_table_goes_between_its_marks(tmp_path: Path) -> None:
    """Writing the table replaces what is between the marks, and nothing else of the page."""
    attack = Attack("a", "sends | much", "hurt", _nothing)
    seen = Observation([Sample(200, 12.0, 1.0)] * 100, {"gateway": Memory(60, 99, 60)}, ["closed"])
    text = report.table({"a": attack}, [judge("a", seen, Bounds())], "make attack", is_full=True)
    page = tmp_path / "page.md"
    begin, end = (f"<!-- {report.BLOCK}: {which} -->\n" for which in ("begin", "end"))
    page.write_text(f"before\n{begin}old\n{end}after\n", encoding="utf-8")
    for _ in range(2):
        report.write_page(text, page)
        written = page.read_text(encoding="utf-8")
        assert written == f"before\n{begin}\n{text}\n\n{end}after\n"
    assert (
        "| `a` | sends &#124; much | hurt | 100.0% of 100 | 12 ms, 12 ms | 99 MB | - |" in written
    )


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    """A page that has lost its marks is an error, not overwritten."""
    page = tmp_path / "page.md"
    page.write_text("nothing here", encoding="utf-8")
    with pytest.raises(ValueError, match="has lost the marks"):
        report.write_page("text", page)
    assert page.read_text(encoding="utf-8") == "nothing here"
