"""`gateway query`: asks a collection."""

import sys
from typing import Annotated, Literal

import typer
from rich.console import Console

from hedgerow.common.errors import InsufficientCoverageError, UnavailableError
from hedgerow.common.observability.printable import printable, printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.facets import (
    facet_tables,
    next_page_line,
    parse_facets,
    parse_refine,
    parse_sort,
)
from hedgerow.gateway.cli.hybrid import legs_table, parse_hybrid
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.cli.render import coverage_line, degraded, hits_table, output, percent, plain
from hedgerow.gateway.cli.timeline import Timeline
from hedgerow.gateway.cli.vectors import parse_vector
from hedgerow.gateway.client import MoreLike, SearchAnswer, SearchOptions, calls
from hedgerow.gateway.shapes.reasons import reasons_line


def query(
    collection: Annotated[str, typer.Option(metavar="NAME", help="The collection to ask.")],
    text: Annotated[
        str,
        typer.Argument(metavar="TEXT", help="The query; none with --vector or --more-like."),
    ] = "",
    k: Annotated[
        int | None,
        typer.Option(
            "-k", "--k", min=1, help="Maximum number of hits.", show_default="the gateway's"
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Time within which the answer leaves the gateway: 300ms, 0.3s, 2s.",
            show_default="the gateway's",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Rank profile.", show_default="the collection's"),
    ] = None,
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="QUERY",
            help="Query that hits must match too, without effect on their score.",
        ),
    ] = "",
    fields: Annotated[
        str, typer.Option(metavar="NAMES", help="Fields to return: a,b,c, or all, or none.")
    ] = "all",
    syntax: Annotated[
        Literal["lenient", "strict"],
        typer.Option(help="Whether to repair an error in the query, or to refuse it."),
    ] = "lenient",
    minimum_coverage: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Smallest share of the documents that the answer must reflect."
        ),
    ] = 0.0,
    wait_for: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of the documents that suffices: once it is covered, the gateway waits for "
            "the rest only during a part of the remaining time.",
        ),
    ] = 1.0,
    priority: Annotated[
        Literal["interactive", "batch"],
        typer.Option(help="Under overload, batch queries are refused first."),
    ] = "interactive",
    facet: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACET",
            help="Count all matches by a field: brand, brand:10, price:..10,10..20,20.., "
            "year:every=10, sold:month, price:stats; may be repeated.",
        ),
    ] = None,
    sort: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEYS",
            help="The order of the hits: price, price:desc, price:desc:first (those without a "
            "price first), _score; commas between keys.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="CURSOR",
            help='The cursor of the page before; "" for the first page, to get a cursor.',
        ),
    ] = None,
    offset: Annotated[int, typer.Option(min=0, help="Hits to leave out at the beginning.")] = 0,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A keyword field: only the best hit of each of its values."
        ),
    ] = None,
    typos: Annotated[
        Literal["off", "auto"],
        typer.Option(
            help="Whether words may be misspelt: with auto, by one edit from 5 letters on, by two "
            "from 9."
        ),
    ] = "off",
    prefix: Annotated[
        bool,
        typer.Option("--prefix", help="The query's last word may be the beginning of another."),
    ] = False,
    vector: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Find the documents whose vectors are nearest: embedding=[0.1,0.2], its Base64, "
            "or embedding=@FILE; for embedding alone, the vector is made of the text.",
        ),
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(min=1, help="How many neighbours are looked for.", show_default="k"),
    ] = None,
    ef: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many documents the shards keep in view while they look for neighbours.",
            show_default="the gateway's",
        ),
    ] = None,
    hybrid: Annotated[
        str | None,
        typer.Option(
            metavar="FUSION",
            help="Rank by the text and by a vector that is made of it, and fuse both: "
            "scores, scores:text=1,vector=5, rrf, rrf:k=10.",
        ),
    ] = None,
    no_synonyms: Annotated[
        bool,
        typer.Option("--no-synonyms", help="Do not find the collection's synonyms of words."),
    ] = False,
    highlight: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Show what matched, in bold: in the text fields a,b,c, or in all of them.",
        ),
    ] = None,
    more_like: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Find documents like this one, instead of those that match a query."
        ),
    ] = None,
    did_you_mean: Annotated[
        bool,
        typer.Option(
            "--did-you-mean",
            help="Suggest a query with misspelt words corrected, if it finds more.",
        ),
    ] = False,
    refine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHOICE",
            help="Only hits with this value, or one in this range: brand:acme, price:10..20, "
            'year:2024, code:"007" (a keyword of digits); of a field that is repeated, any of '
            "them. A facet leaves out the choice of its own field.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Draw each shard's times to scale.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer as JSON, unchanged.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Ask a collection, and show the hits and the coverage."""
    deadline_ms = None if deadline is None else options.parse_duration_ms(deadline)
    search: SearchOptions = {
        "k": k,
        "deadline_ms": deadline_ms,
        "rank_profile": profile,
        "filter": filter_ or None,
        "fields": options.parse_fields(fields),
        "syntax": syntax,
        "minimum_coverage": minimum_coverage,
        "wait_for": wait_for,
        "priority": priority,
        "explain": explain,
        "facets": parse_facets(facet or ()),
        "refine": parse_refine(refine or ()),
        "sort": parse_sort(sort or ()),
        "search_after": after,
        "offset": offset or None,
        "group_by": group_by,
        "typos": None if typos == "off" else typos,
        "prefix": prefix or None,
        "vector": parse_vector(vector, neighbours, ef),
        "hybrid": parse_hybrid(hybrid),
        "synonyms": False if no_synonyms else None,
        "did_you_mean": did_you_mean or None,
        "more_like": None if more_like is None else MoreLike(more_like),
        "highlight": None if highlight is None else options.parse_fields(highlight),
    }
    call = calls.search(collection, text, search)
    with options.connect(url, token, verify=ca_file or True) as client:
        reply = client.exchange(call)
    failure: InsufficientCoverageError | None = None
    try:
        answer = call.read(reply)
    except InsufficientCoverageError as error:
        answer, failure = error.result, error
    if as_json:
        body = reply.body.decode()
        # The same JSON, made safe for a terminal.
        sys.stdout.write((printable_json(body) if sys.stdout.isatty() else body) + "\n")
    else:
        show(answer, output(), explain=explain)
    warn(answer, failure)


def show(answer: SearchAnswer, console: Console, *, explain: bool) -> None:
    """Print hits, facets and coverage, and with `explain` the timeline and the trace's id."""
    if (
        answer.shards.ok or answer.shards.skipped
    ):  # if no shard has answered, it is unknown whether there are hits
        console.print(hits_table(answer), crop=False)
    if answer.did_you_mean:
        console.print(plain(f"did you mean: {answer.did_you_mean}"), soft_wrap=True)
    if answer.facets:
        for part in facet_tables(answer.facets):
            console.print(part, crop=False)
    if answer.legs:
        console.print(legs_table(answer.legs), crop=False)
    if answer.next_page:
        console.print(next_page_line(answer.next_page), soft_wrap=True, markup=False)
        for reason in answer.next_page.reasons:
            console.print(plain(reason), soft_wrap=True)
    console.print(coverage_line(answer), soft_wrap=True)
    if explain:
        console.print()
        console.print(Timeline(answer))
        if answer.trace_id is not None:
            console.print(f"trace {printable(answer.trace_id)}", markup=False)


def warn(answer: SearchAnswer, failure: InsufficientCoverageError | None) -> None:
    """Say on standard error why the answer is not complete.

    Raises:
        InsufficientCoverageError: it is below the minimum coverage.
        UnavailableError: no shard could answer.
    """
    for warning in answer.warnings:
        sys.stderr.write(f"gateway: warning: {printable(warning)}\n")
    if answer.fetch is not None:
        for problem in answer.fetch.problems:
            reason = printable(problem.reason)
            sys.stderr.write(f"gateway: fields of shard {problem.shard}: {reason}\n")
    if failure is not None:
        if failure.retry_after_s is not None:  # no shard could be asked
            raise UnavailableError(str(failure), failure.retry_after_s)
        raise failure
    if not answer.coverage.is_full:
        why = printable(reasons_line(answer.shards.detail) or degraded(answer))
        sys.stderr.write(
            f"gateway: partial answer: {percent(answer.coverage.fraction)} of the documents "
            f"were searched ({why})\n"
        )
