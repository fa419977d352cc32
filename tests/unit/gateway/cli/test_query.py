"""`gateway query`: what it sends, what it shows, and how it ends."""

import json
import unicodedata
from io import StringIO

import httpx
import pytest
import typer
from msgspec import structs
from rich.console import Console

from hedgerow.common.errors import (
    BadRequestError,
    InsufficientCoverageError,
    NotFoundError,
    RedisUnavailableError,
)
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.cli.facets import facet_tables, parse_facets, parse_refine
from hedgerow.gateway.cli.options import parse_duration_ms
from hedgerow.gateway.cli.render import hits_table
from hedgerow.gateway.client import FacetAnswer, FacetBucket, FacetStats, MoreLike, NextPage
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.result import Hit, SearchQuery
from hedgerow.gateway.shapes.answer import Fetch, FetchProblem, ShardDetail, TotalHits
from hedgerow.gateway.shapes.answer import Hit as AnsweredHit
from hedgerow.gateway.shapes.facets import Facet, FacetRange
from hedgerow.gateway.shapes.sorting import SortBy
from tests.support.sample_results import as_answer, make_result
from tests.unit.support.command_line import CommandLine

WHOLE = make_result(
    coverage=coverage_of(22_400, 22_400), outcomes={Outcome.OK: 8}, detail=[], took_ms=3.21
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway."""
    return CommandLine(monkeypatch, capsys)


def test_every_option_reaches_the_gateway(command: CommandLine) -> None:
    """What the options say is what is searched for."""
    command.gateway.answer = WHOLE
    ended = command.run(
        "query",
        "wing flow",
        "--collection",
        "films",
        "-k",
        "3",
        "--deadline",
        "1.5s",
        "--profile",
        "noop",
        "--filter",
        "year:>1990",
        "--fields",
        "title, year",
        "--minimum-coverage",
        "0.9",
        "--syntax",
        "strict",
        "--explain",
        "--facet",
        "brand:5",
        "--facet",
        "price:..10,10..20.5",
        "--facet",
        "sold:month",
        "--refine",
        "brand:acme",
        "--refine",
        "price:10..",
        "--sort",
        "price:desc:first,_score",
        "--offset",
        "7",
        "--group-by",
        "brand",
        "--highlight",
        "title",
    )
    assert ended.code == 0
    assert command.gateway.searches == [
        SearchQuery(
            "films",
            "wing flow",
            3,
            1500.0,
            "noop",
            "year:>1990",
            ("title", "year"),
            minimum_coverage=0.9,
            explain=True,
            syntax="strict",
            peer="127.0.0.1",
            facets={
                "brand": Facet(size=5),
                "price": Facet(ranges=(FacetRange(None, 10), FacetRange(10, 20.5))),
                "sold": Facet(histogram="month"),
            },
            sort=({"price": SortBy("desc", "first")}, "_score"),
            offset=7,
            group_by="brand",
            highlight=("title",),
            refine={"brand": ("acme",), "price": (FacetRange(10, None),)},
        )
    ]


@pytest.mark.parametrize(
    ("text", "facet"),
    [
        ("brand", Facet()),
        ("year:every=10", Facet(histogram=10.0)),
        ("price:stats", Facet(stats=True)),
        ("sold:2020-01-01..", Facet(ranges=(FacetRange("2020-01-01", None),))),
    ],
)
def test_facets_are_read(text: str, facet: Facet) -> None:
    """Each way to count has its notation."""
    assert parse_facets([text]) == {text.partition(":")[0]: facet}


def test_statistics_are_added_to_a_facet_of_the_same_field() -> None:
    """Neither replaces the other, in either order; another facet of the field is refused."""
    ranges = (FacetRange(None, 10), FacetRange(10, None))
    for given in (["price:..10,10..", "price:stats"], ["price:stats", "price:..10,10.."]):
        assert parse_facets(given) == {"price": Facet(ranges=ranges, stats=True)}
    assert parse_facets(["price", "price:stats"]) == {"price": Facet(size=10, stats=True)}
    with pytest.raises(typer.BadParameter, match="price has another facet"):
        parse_facets(["price:..10,10..", "price:20"])


def test_choices_are_read() -> None:
    """Numbers, booleans and ranges are not read as texts; values of one field are collected."""
    given = [
        'code:"007"',
        "code:0",
        "code:true",
        "code:2020-01-01..2021-01-01",
        "url:http://x",
        "tag:",
    ]
    assert parse_refine(given) == {
        "code": ["007", 0, True, FacetRange("2020-01-01", "2021-01-01")],
        "url": ["http://x"],
        "tag": [""],
    }


@pytest.mark.parametrize(
    "option", ["--refine=brand", "--facet=brand:most", "--sort=price:up", "--sort=a:asc:b"]
)
def test_what_is_no_facet_or_key_is_misuse(command: CommandLine, option: str) -> None:
    """It is said before the gateway is asked."""
    ended = command.run("query", "wing", "--collection", "films", option)
    assert ended.code == 2
    assert not command.requests


def test_facets_and_the_next_page_are_shown(command: CommandLine) -> None:
    """Counts stand below the hits, with what they cannot say, and the cursor is there to copy."""
    command.gateway.answer = structs.replace(
        WHOLE,
        facets={
            "brand": FacetAnswer(
                is_exact=False,
                buckets=[FacetBucket(9, "acme", error=2)],
                other=4,
                not_searched=70,
            ),
            "price": FacetAnswer(True, [FacetBucket(3, to=10)], FacetStats(3, 1, 9, 12, 4)),
            "is_new": FacetAnswer(True, [FacetBucket(2, True)]),
            "sold": FacetAnswer(True, stats=FacetStats(0, None, None, None, None)),
        },
        next_page=NextPage("abc" * 99, is_whole=False, reasons=["A shard was missing."]),
    )
    ended = command.run("query", "wing", "--collection", "films", "--after", "")
    assert command.gateway.searches[0].search_after == ""
    for words in (
        "9 to 11",
        "others",
        "70 documents were not searched",
        ".. 10",
        "3 values from 1 to 9, mean 4",
        f"--after {'abc' * 99}",
        "A shard was missing.",
        "  true ",
        "  no values",
    ):
        assert words in ended.out


def test_facets_that_are_piped_are_as_wide_as_their_content() -> None:
    """The console of a pipe is very wide, and lines are not filled up with spaces."""
    facets = {"price": FacetAnswer(True, [FacetBucket(3, to=10)], FacetStats(3, 1, 9, 12, 4))}
    console = Console(width=10_000, record=True, file=StringIO())
    console.print(*facet_tables(facets), sep="\n")
    assert max(map(len, console.export_text().splitlines())) < 80


def test_what_is_not_said_is_left_to_the_gateway(command: CommandLine) -> None:
    """Neither k nor a deadline is sent unless given, so the gateway's defaults hold."""
    command.run("query", "wing", "--collection", "films")
    assert not {"k", "deadline_ms", "rank_profile"} & json.loads(command.requests[0].content).keys()


@pytest.mark.parametrize(
    ("text", "ms"),
    [("300ms", 300), ("0.3s", 300), ("2s", 2000), (".5s", 500), ("1.5ms", 1.5), ("10s", 10_000)],
)
def test_durations_are_read(text: str, ms: float) -> None:
    """A duration is a number with ms or s after it."""
    assert parse_duration_ms(text) == pytest.approx(ms)


@pytest.mark.parametrize("text", ["", "300", "ms", "3 m", "-1s", "1e3ms", "inf s", "1h", "nan"])
def test_what_is_no_duration_is_misuse(command: CommandLine, text: str) -> None:
    """Anything else ends with 2 and sends nothing."""
    ended = command.run("query", "wing", "--collection", "films", f"--deadline={text}")
    assert ended.code == 2
    assert "duration" in ended.err
    assert command.requests == []


def test_hits_and_coverage_are_shown(command: CommandLine) -> None:
    """A whole answer shows its hits and one line of coverage, and warns of nothing."""
    command.gateway.answer = WHOLE
    ended = command.run("query", "wing", "--collection", "films")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert "184" in lines[1]
    assert "12.3100" in lines[1]
    assert "scale models for thermo-aeroelastic research" in lines[1]
    assert "29" in lines[2]
    assert lines[-1].startswith("coverage 100.0 % of 22,400 documents (shards: 8 ok)")


def test_a_document_takes_the_place_of_a_query(command: CommandLine) -> None:
    """There is no text then; and what was probably meant is shown below the hits."""
    command.gateway.answer = structs.replace(WHOLE, did_you_mean="wing\x1b flow")
    ended = command.run(
        "query", "--collection", "films", "--more-like", "d7", "--did-you-mean", "--fields", "none"
    )
    assert command.gateway.searches == [
        SearchQuery(
            "films",
            fields=False,
            more_like=MoreLike("d7"),
            did_you_mean=True,
            peer="127.0.0.1",
        )
    ]
    assert "did you mean: wing" in ended.out
    assert "\x1b" not in ended.out


MARKED = AnsweredHit(
    "29",
    11.5,
    1,
    {"title": "a <b>study</b>", "text": "long"},
    highlights={
        "title": ("a &lt;b&gt;<em>study</em>&lt;/b&gt;",),
        "text": ("…of <em>models</em>\x1b[2J &amp; <em>studies</em>…",),
    },
)


def test_what_matched_is_bold_on_a_terminal() -> None:
    """And plain where there is none; the document cannot write to the terminal itself."""
    shown = as_answer(structs.replace(WHOLE, hits=[]))
    answer = structs.replace(shown, hits=[MARKED])
    terminal = Console(file=StringIO(), width=120, force_terminal=True, color_system="standard")
    terminal.print(hits_table(answer))
    written = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[1mstudy\x1b[0m" in written
    assert "\x1b[1mmodels\x1b[0m" in written
    assert "\x1b[2J" not in written
    piped = Console(file=StringIO(), width=120)
    piped.print(hits_table(answer))
    lines = piped.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[1].rstrip().endswith("a <b>study</b>")
    assert lines[2].strip().startswith("…of models")
    assert lines[2].strip().endswith("& studies…")


def test_a_partial_answer_warns(command: CommandLine) -> None:
    """A partial answer ends with 0, and says on standard error what is missing."""
    ended = command.run("query", "wing", "--collection", "films")
    assert ended.code == 0
    assert "7 ok, 1 timed_out" in ended.out.splitlines()[-1]
    assert "partial" in ended.err
    assert "1 shard timed out" in ended.err
    assert ended.err.count("\n") == 1


def test_almost_everything_is_not_everything(command: CommandLine) -> None:
    """Coverage just below 1 never reads 100 %."""
    command.gateway.answer = make_result(coverage=coverage_of(99_999, 100_000, {"failed": 1}))
    ended = command.run("query", "wing", "--collection", "films")
    assert "99.9 %" in ended.out
    assert "100.0 %" not in ended.out + ended.err


def test_below_the_minimum_coverage_what_there_is_is_shown(command: CommandLine) -> None:
    """Exit code 3 comes with the hits and the coverage."""
    command.gateway.answer = InsufficientCoverageError("coverage is 0.875", make_result())
    ended = command.run("query", "wing", "--collection", "films", "--minimum-coverage", "0.9")
    assert ended.code == 3
    assert "184" in ended.out
    assert "87.5 %" in ended.out
    assert ended.err == "gateway: coverage is 0.875\n"


def test_that_no_shard_has_answered_is_not_told_as_no_hits(command: CommandLine) -> None:
    """It is an error, since whether there are hits is unknown, without any minimum coverage."""
    nothing = make_result(
        hits=[], coverage=coverage_of(0, 100, {"failed": 8}), outcomes={Outcome.FAILED: 8}
    )
    why = "no shard has answered: 8 shards failed: rank:score raised ValueError (rank.py:3)"
    command.gateway.answer = InsufficientCoverageError(why, nothing)
    ended = command.run("query", "wing", "--collection", "films")
    assert ended.err == f"gateway: {why}\n"
    assert "no hits" not in ended.out
    assert "0.0 % of 100" in ended.out


def test_json_is_the_body_as_it_is(command: CommandLine) -> None:
    """--json prints the answer's body and nothing else, whole or not."""
    ended = command.run("query", "wing", "--collection", "films", "--json")
    assert json.loads(ended.out) == json.loads(json.dumps(make_result().to_json()))
    command.gateway.answer = InsufficientCoverageError("coverage is 0.875", make_result())
    ended = command.run("query", "wing", "--collection", "films", "--json")
    assert ended.code == 3
    assert json.loads(ended.out)["type"] == "urn:problem-type:hedgerow:insufficient-coverage"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BadRequestError("filter", "names no field", 3), 2, "filter: names no field"),
        (NotFoundError("there is no collection 'films'"), 1, "no collection 'films'"),
        (RedisUnavailableError("Redis does not answer"), 1, "Redis does not answer"),
        (RuntimeError("a bug"), 1, "gateway"),
        (
            InsufficientCoverageError(
                "no shard has answered", make_result(hits=[], outcomes={Outcome.UNAVAILABLE: 8})
            ),
            1,
            "no shard has answered",
        ),
    ],
)
def test_each_failure_has_its_exit_code(
    command: CommandLine, error: Exception, code: int, words: str
) -> None:
    """400 is a usage error, what cannot be answered now a failure; each says why in one line."""
    command.gateway.answer = error
    ended = command.run("query", "wing", "--collection", "films")
    assert (ended.code, ended.err.count("\n")) == (code, 1)
    assert words in ended.err


def test_a_position_in_the_query_is_told(command: CommandLine) -> None:
    """Where the syntax breaks is part of the message."""
    command.gateway.answer = BadRequestError("query", "has an unbalanced quote", 4)
    ended = command.run("query", 'foo "bar', "--collection", "films", "--syntax", "strict")
    assert ended.err == "gateway: query: has an unbalanced quote (at character 4)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("wing",),
        ("wing", "--collection", "films", "-k", "0"),
        ("wing", "--collection", "films", "-k", "ten"),
        ("wing", "--collection", "films", "--minimum-coverage", "1.5"),
        ("wing", "--collection", "films", "--syntax", "loose"),
        ("wing", "--collection", "films", "--no-such"),
    ],
)
def test_misuse_ends_with_2(command: CommandLine, arguments: tuple[str, ...]) -> None:
    """A command line that makes no sense gives one line on standard error."""
    ended = command.run("query", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert command.requests == []


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("Connection refused"),
        httpx.ReadTimeout("timed out"),
        httpx.RemoteProtocolError("Server disconnected"),
    ],
)
def test_no_gateway_is_a_failure_that_names_the_url(
    command: CommandLine, failure: Exception
) -> None:
    """No server, or none that answers: exit code 1, and where it was tried."""

    def fail(_request: httpx.Request) -> httpx.Response:
        raise failure

    command.answer = fail
    ended = command.run("query", "wing", "--collection", "films", "--url", "http://there:1")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "http://there:1" in ended.err


@pytest.mark.parametrize("status", [200, 404, 502])
def test_something_else_at_the_url_is_a_failure(command: CommandLine, status: int) -> None:
    """A server that is no gateway is named as such, without a traceback."""
    command.answer = lambda _: httpx.Response(status, html="<h1>It works!</h1>")
    ended = command.run("query", "wing", "--collection", "films")
    assert (ended.code, ended.err.count("\n")) == (1, 1)


def test_the_token_is_sent(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token comes from the option or the gateway's own variable."""
    command.run("query", "wing", "--collection", "films")
    assert "authorization" not in command.requests[-1].headers
    monkeypatch.setenv("HEDGEROW_GATEWAY__TOKEN", "from-env")
    command.run("query", "wing", "--collection", "films")
    assert command.requests[-1].headers["authorization"] == "Bearer from-env"
    command.run("query", "wing", "--collection", "films", "--token", "given")
    assert command.requests[-1].headers["authorization"] == "Bearer given"


def test_a_collection_s_name_is_escaped(command: CommandLine) -> None:
    """A name with a slash asks for that collection, not for another path."""
    command.run("query", "wing", "--collection", "a/b?c")
    assert command.requests[0].url.raw_path == b"/v1/collections/a%2Fb%3Fc/search"


def test_documents_do_nothing_to_the_terminal(command: CommandLine) -> None:
    """Control characters and markup in a document are shown, not obeyed."""
    evil = "\x1b[2J\x07[bold red]title[/]\r\nsecond\x9b31m"
    command.gateway.answer = make_result(hits=[Hit(evil, 1.0, 0, {"title": evil, "text": evil})])
    ended = command.run("query", "wing", "--collection", "films")
    assert "[bold red]title[/]" in ended.out
    controls = {char for char in ended.out if unicodedata.category(char) == "Cc"}
    assert controls <= {"\n"}


def test_hits_without_fields_say_so(command: CommandLine) -> None:
    """A hit whose fields were not read is shown, and why it lacks them on standard error."""
    command.gateway.answer = make_result(
        hits=[Hit("7", 1.0, 2, None)],
        fetch=Fetch(0, 1, 0, [FetchProblem(2, "all threads are lost")]),
    )
    ended = command.run("query", "wing", "--collection", "films")
    assert "(no fields)" in ended.out
    assert "shard 2: all threads are lost" in ended.err


def test_a_repaired_query_is_told(command: CommandLine) -> None:
    """What the lenient parser repaired is noted on standard error."""
    command.gateway.answer = make_result(warnings=("the quote is closed",))
    ended = command.run("query", '"wing', "--collection", "films")
    assert "the quote is closed" in ended.err


def test_explain_draws_every_shard(command: CommandLine) -> None:
    """--explain shows a line for each shard, within 80 columns and without colour."""
    detail = [
        ShardDetail(shard, Outcome.OK, "", "w", "process", 900, 100, 9000, 12_000, "closed")
        for shard in range(8)
    ]
    command.gateway.answer = make_result(
        detail=detail, total_hits=TotalHits(1, "eq"), outcomes={Outcome.OK: 8}
    )
    ended = command.run("query", "wing", "--collection", "films", "--explain")
    lines = ended.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert sum("12.0 ms closed" in line for line in lines) == 8
    assert "\x1b" not in ended.out


LONG_ID = "a-long-id-" * 12


@pytest.mark.parametrize("columns", ["80", "200", None])
def test_an_id_is_never_split(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    """On a narrow terminal, on a wide one, and in a pipe, from which it may be cut by a program."""
    fields = {"title": "a title " * 30, "text": "words " * 60}
    command.gateway.answer = make_result(
        hits=[Hit(LONG_ID, 2.0, 0, fields), Hit("short", 1.0, 0, fields)]
    )
    if columns is None:
        monkeypatch.delenv("COLUMNS")
    else:
        monkeypatch.setenv("COLUMNS", columns)
    ended = command.run("query", "wing", "--collection", "films")
    assert LONG_ID in ended.out
    assert "a title" in ended.out


def test_what_is_piped_is_as_wide_as_its_content(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cell is cut for the width of a terminal that is not there."""
    monkeypatch.delenv("COLUMNS")
    title = "a title that is longer than the width of a terminal " * 4
    command.gateway.answer = make_result(hits=[Hit("1", 2.0, 0, {"title": title})])
    ended = command.run("query", "wing", "--collection", "films", "--explain")
    assert title.strip() in ended.out
    assert "…" not in ended.out
    pictures = [line for line in ended.out.splitlines() if "│" in line]
    assert all(len(line) <= 120 for line in pictures)
