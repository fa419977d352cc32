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
from hedgerow.gateway.cli.comparison import comparison, lines_of, query_lines
from hedgerow.gateway.cli.judgements import Ranking, read_judgements, read_queries
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.cli.systems import Evaluated, systems_of
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
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Rank profile; several are compared with the first.",
            show_default="the collection's",
        ),
    ] = None,
    request: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=JSON",
            help='A ranking by a search with these members, such as hybrid={"hybrid": {}}; several '
            "are compared with the first, as are profiles.",
        ),
    ] = None,
    per_query: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the measures and first hits of each query, as JSON lines."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON, for machines.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Measure the quality of a collection's rankings against judged queries."""
    measures = _measures()
    texts, judgements = read_queries(queries), read_judgements(qrels)
    judged = {judgement.query_id for judgement in judgements}
    asked = {query_id: text for query_id, text in texts.items() if query_id in judged}
    if not asked:
        raise BadRequestError("qrels", f"{qrels} judges no query of {queries}")
    search: SearchOptions = {
        "k": k,
        "deadline_ms": options.parse_duration_ms(deadline),
        "fields": False,
    }
    systems = systems_of(profile or (), request or (), search)
    relevant = [judgement for judgement in judgements if judgement.query_id in asked]
    evaluated = []
    with options.connect(url, token, verify=ca_file or True) as client:
        for system in systems:
            answers = ask_all(client, collection, asked, system.options)
            rankings = list(_with_progress(answers, len(asked), system.name))
            by_query = measures.measure_each(rankings, relevant, k)
            means = measures.mean_of(by_query, k)
            evaluated.append(Evaluated(system, rankings, by_query, means))
    figures: dict[str, Any] = {
        "collection": collection,
        "queries": len(asked),
        "queries_not_judged": len(texts) - len(asked),
        "judged_not_asked": len(judged - texts.keys()),
        "k": k,
        "partial": sum(one.num_partial for one in evaluated),
    }
    if len(evaluated) == 1:
        figures["measures"] = evaluated[0].measures
    else:
        figures |= comparison(evaluated)
    if not any(ranking.document_ids for one in evaluated for ranking in one.rankings):
        sys.stderr.write(
            f"gateway: no query found anything; does {collection} hold the judged documents?\n"
        )
    if per_query is not None:
        per_query.write_text("".join(f"{line}\n" for line in query_lines(evaluated, asked)))
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
        if "measures" in figures:
            for name, value in figures["measures"].items():
                sys.stdout.write(f"{name:<12} {value:.4f}\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in lines_of(figures))
    if num := figures["queries_not_judged"]:
        have = (
            "query has no judgement and was" if num == 1 else "queries have no judgement and were"
        )
        sys.stderr.write(f"gateway: {num} {have} not run\n")
    if num := figures["judged_not_asked"]:
        are = "judged query is" if num == 1 else "judged queries are"
        sys.stderr.write(f"gateway: {num} {are} not among the queries\n")
    if figures["partial"]:
        num_answers = figures["queries"] * len(figures.get("systems", ("one",)))
        raise InsufficientCoverageError(
            f"{figures['partial']} of {num_answers} answers were partial: "
            "the figures do not hold for the whole collection",
            None,
        )


def _with_progress(rankings: Iterator[Ranking], total: int, name: str) -> Iterator[Ranking]:
    console = Console(stderr=True)
    columns = (TextColumn(f"asking {name}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield from progress.track(rankings, total=total)
