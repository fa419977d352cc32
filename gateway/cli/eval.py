"""`gateway eval`: measures the quality of a ranking against judged queries."""

import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hedgerow.common.errors import BadRequestError, ConfigurationError, InsufficientCoverageError
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.judgements import Ranking, read_judgements, read_queries
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.client import Client, SearchAnswer, SearchOptions

IN_FLIGHT: Final = 4  # enough to keep the shards busy, too few to delay each other


def evaluate(
    collection: Annotated[str, typer.Option(metavar="NAME", help="The collection to ask.")],
    queries: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help='Queries, one per line: {"_id", "text"} (BEIR), or id<TAB>text (TREC).',
        ),
    ],
    qrels: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Judgements: query, document, grade (BEIR), or with TREC's second column. "
            "A grade is the gain.",
        ),
    ],
    k: Annotated[
        int, typer.Option("-k", "--k", min=10, help="Hits to ask for, and the depth of recall.")
    ] = 1000,
    deadline: Annotated[
        str, typer.Option(metavar="DURATION", help="Deadline of each query: 300ms, 0.3s, 2s.")
    ] = "10s",
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Rank profile.", show_default="the collection's"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON, for machines.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Measure the quality of a collection's ranking against judged queries."""
    measures = _measures()
    texts, judgements = read_queries(queries), read_judgements(qrels)
    judged = {judgement.query_id for judgement in judgements}
    asked = {query_id: text for query_id, text in texts.items() if query_id in judged}
    if not asked:
        raise BadRequestError("qrels", f"{qrels} judges no query of {queries}")
    search: SearchOptions = {
        "k": k,
        "deadline_ms": options.parse_duration_ms(deadline),
        "rank_profile": profile,
        "fields": False,
    }
    with options.connect(url, token, verify=ca_file or True) as client:
        rankings = list(_with_progress(ask_all(client, collection, asked, search), len(asked)))
    relevant = [judgement for judgement in judgements if judgement.query_id in asked]
    figures = {
        "collection": collection,
        "queries": len(asked),
        "queries_not_judged": len(texts) - len(asked),
        "judged_not_asked": len(judged - texts.keys()),
        "k": k,
        "partial": sum(1 for ranking in rankings if not ranking.is_full),
        "measures": measures.measure(rankings, relevant, k),
    }
    if not any(ranking.document_ids for ranking in rankings):
        sys.stderr.write(
            f"gateway: no query found anything; does {collection} hold the judged documents?\n"
        )
    show(figures, as_json=as_json)


def _measures() -> ModuleType:
    """Import the module that computes them; fails before the long run if a package is missing."""
    if importlib.util.find_spec("ir_measures") is None:
        raise ConfigurationError(
            "gateway eval needs ir-measures, in the extra `eval` (`make setup` installs it)"
        )
    return import_module("hedgerow.gateway.cli.measures")


def ask_all(
    client: Client, collection: str, queries: Mapping[str, str], options: SearchOptions
) -> Iterator[Ranking]:
    """Run every query, a few at a time.

    Args:
        client: of the gateway.
        collection: the collection to ask.
        queries: query id → text.
        options: the options of all searches.
    """

    def ask(query: tuple[str, str]) -> Ranking:
        answer = _search_or_partial(client, collection, query[1], options)
        ids = [hit.id for hit in answer.hits]
        return Ranking(query[0], ids, answer.coverage.is_full)

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        yield from threads.map(ask, queries.items())


def _search_or_partial(
    client: Client, collection: str, query: str, options: SearchOptions
) -> SearchAnswer:
    try:
        return client.search(collection, query, **options)
    except InsufficientCoverageError as error:  # no shard answered: this counts as a partial answer
        found: SearchAnswer = error.result
        return found


def show(figures: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the figures.

    Raises:
        InsufficientCoverageError: some answers were partial, so the figures are incomplete.
    """
    if as_json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        partial = f", {figures['partial']} PARTIAL" if figures["partial"] else ""
        queries = "query" if figures["queries"] == 1 else "queries"
        sys.stdout.write(f"{figures['collection']}: {figures['queries']} {queries}{partial}\n")
        for name, value in figures["measures"].items():
            sys.stdout.write(f"{name:<12} {value:.4f}\n")
    for member, what in (
        ("queries_not_judged", "queries have no judgement and were not run"),
        ("judged_not_asked", "judged queries are not among the queries"),
    ):
        if figures[member]:
            sys.stderr.write(f"gateway: {figures[member]} {what}\n")
    if figures["partial"]:
        raise InsufficientCoverageError(
            f"{figures['partial']} of {figures['queries']} answers were partial: "
            "the figures do not hold for the whole collection",
            None,
        )


def _with_progress(rankings: Iterator[Ranking], total: int) -> Iterator[Ranking]:
    console = Console(stderr=True)
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield from progress.track(rankings, total=total)
