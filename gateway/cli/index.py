"""`gateway index`: loads documents."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal

import typer
from pydantic_core import from_json
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hedgerow.common.errors import (
    HedgerowError,
    NotFoundError,
    UnavailableError,
)
from hedgerow.common.observability.printable import printable
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.field_report import report_fields
from hedgerow.gateway.cli.loading.field_findings import FieldFindings
from hedgerow.gateway.cli.loading.lines import DEFAULT_MAX_BYTES, Line
from hedgerow.gateway.cli.loading.loader import Loader, Progressed, Rejected
from hedgerow.gateway.cli.loading.parquet_rows import DEFAULT_MEMORY_MB
from hedgerow.gateway.cli.loading.sources import Reading, Source, document_source, open_source
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.cli.render import counted, plain
from hedgerow.gateway.client import (
    Client,
    CollectionAnswer,
    DefinedVector,
    Definition,
    WeightedField,
)

NUM_SHOWN: Final = 20


def index(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A .jsonl, .ndjson, .json, .csv or .parquet file, .gz of those, a folder of text "
            "files, or - for NDJSON on standard input.",
            show_default=False,
        ),
    ] = None,
    collection: Annotated[
        str,
        typer.Option(metavar="NAME", help="The collection; created if it does not exist."),
    ] = ...,  # type: ignore[assignment] # typer's sign for an option that must be given
    id_field: Annotated[
        str, typer.Option(metavar="FIELD", help="Field that holds the documents' ids.")
    ] = "id",
    python_docs: Annotated[
        bool,
        typer.Option(
            "--python-docs",
            help="Instead of SOURCE: load the docstrings of this Python and its packages.",
        ),
    ] = False,
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=TYPE,…",
            help="The fields of a new collection: text, keyword, integer, float, boolean, date; "
            "text^3 is text of weight 3; text:german is German, text:3grams is found by parts of "
            "words, and text:unfolded keeps accents.",
            show_default="inferred",
        ),
    ] = None,
    rank_profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Profile of a new collection.", show_default="bm25"),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Language of a new collection's text, or none.",
            show_default="english",
        ),
    ] = None,
    folding: Annotated[
        bool | None,
        typer.Option(
            "--folding/--no-folding",
            help="Whether accents make no difference to the words of a new collection.",
            show_default="folding",
        ),
    ] = None,
    wait: Annotated[
        Literal["logged", "applied"],
        typer.Option(help="Whether to wait until documents are safe, or until searches find them."),
    ] = "applied",
    rejects: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write rejected lines there, with the reasons, as NDJSON.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Infer the fields and check every document, and write nothing. Works without a "
            "gateway too.",
        ),
    ] = False,
    allow_rejects: Annotated[
        bool,
        typer.Option("--allow-rejects", help="Exit with 0 even if lines were rejected."),
    ] = False,
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links",
            help="In a folder, follow links that lead out of it, and links to folders.",
        ),
    ] = False,
    max_document_bytes: Annotated[
        int,
        typer.Option(
            min=1,
            envvar="HEDGEROW_LIMITS__MAX_DOCUMENT_BYTES",
            help="Longest line, row or file to send; the gateway has its own limit.",
        ),
    ] = DEFAULT_MAX_BYTES,
    parquet_memory_mb: Annotated[
        int,
        typer.Option(min=16, help="Memory that decoding Parquet may take, in MB (Linux only)."),
    ] = DEFAULT_MEMORY_MB,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Load documents into a collection."""
    if (source is None) is not python_docs:
        raise typer.BadParameter("give either SOURCE or --python-docs")
    definition: Definition = options.given(  # type: ignore[assignment] # a subset of its members
        fields=None if fields is None else options.parse_types(fields),
        rank_profile=rank_profile,
        language=language,
        folding=folding,
    )
    with ExitStack() as opened:
        client = opened.enter_context(options.connect(url, token, verify=ca_file or True))
        find = _describe_if_reachable if dry_run else _describe
        found = find(client, collection)
        known = definition.get("fields") if found is None else found.fields
        reading = Reading(
            id_field=id_field,
            fields=_types_of(known or {}),
            max_bytes=max_document_bytes,
            parquet_memory_mb=parquet_memory_mb,
            follow_links=follow_links,
        )
        documents = opened.enter_context(_open(source, reading))
        if found is None and python_docs:
            definition = {**_inherent_fields(), **definition}  # type: ignore[typeddict-item] # its members
        lines, target = documents.lines, client
        if dry_run:
            trial = import_module("hedgerow.gateway.cli.dry_run").DryRun
            target = trial(collection, found, definition, max_document_bytes)
            wait = "logged"
        elif found is None:
            make = partial(client.put_collection, collection, **definition)
            lines = _create_before_first(lines, make)
        elif definition:  # the gateway reports any difference
            client.put_collection(collection, **definition)
        rejected = _Rejects(opened.enter_context(rejects.open("w")) if rejects else None)
        console = Console(stderr=True)
        progress = opened.enter_context(_progress(console))
        bar = _Bar(progress, documents)
        findings = FieldFindings()
        loader = Loader(
            client=target,
            collection=collection,
            wait=wait,
            on_rejected=rejected.add,
            on_progress=bar.show,
            on_waiting=_Waits(console).show,
            on_report=findings.add,
        )
        loaded = loader.load(bar.watch(lines))
        progress.stop()
        _summarise(f"dry run: {collection}" if dry_run else collection, loaded, rejected)
        report_fields(collection, findings)
        if dry_run:
            state = "exists" if found is not None else "would be created"
            sys.stdout.write(f"nothing was written; the collection {collection} {state}\n")
        if rejected.total and not loaded.accepted:
            may_be_new = found is None and not dry_run
            is_left_empty = may_be_new and _describe(client, collection) is not None
            left = f"; the new collection {collection} is empty" if is_left_empty else ""
            raise HedgerowError(f"no document was accepted{left}")
        if rejected.total and not allow_rejects:
            raise HedgerowError(
                f"{counted(rejected.total, 'line')} rejected; --allow-rejects makes that no failure"
            )


def _types_of(
    fields: Mapping[str, str | Mapping[str, Any] | WeightedField | DefinedVector],
) -> dict[str, str]:
    """Field → type, without what else defines it, which reading a source does not need."""
    types = {}
    for name, defined in fields.items():
        match defined:
            case str():
                types[name] = defined
            case WeightedField() | DefinedVector():
                types[name] = defined.type
            case _:
                types[name] = defined["type"]
    return types


def _describe(client: Client, name: str) -> CollectionAnswer | None:
    try:
        return client.get_collection(name)
    except NotFoundError:
        return None


def _describe_if_reachable(client: Client, name: str) -> CollectionAnswer | None:
    try:
        return _describe(client, name)
    except UnavailableError as error:
        sys.stderr.write(f"gateway: {printable(str(error))}: as for a new collection\n")
        return None


def _create_before_first(lines: Iterable[Line], make: Callable[[], object]) -> Iterator[Line]:
    """Make the collection before the first good document, or at the end of an empty source.

    With a wrong --id-field, or a file of another format, no collection is made.
    """
    is_made = has_rejected = False
    for line in lines:
        if line.reason:
            has_rejected = True
        elif not is_made:
            make()
            is_made = True
        yield line
    if not is_made and not has_rejected:
        make()


def _inherent_fields() -> dict[str, Any]:
    return {"fields": import_module("hedgerow.gateway.cli.loading.python_docs").FIELDS}


@contextmanager
def _open(source: str | None, reading: Reading) -> Iterator[Source]:
    if source is None:
        corpus = import_module("hedgerow.gateway.cli.loading.python_docs").Corpus()
        # Progress counts files, since the number of documents in them is unknown.
        lines = document_source(corpus).lines
        yield Source(lines, lambda: corpus.num_read, corpus.num_files, "files")
        return
    with open_source(source, reading) as opened:
        yield opened


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[documents]:,} documents, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


class _Bar:
    """Shows how far the source has been read, and how many documents were accepted."""

    def __init__(self, progress: Progress, source: Source) -> None:
        self._progress = progress
        self._source = source
        self._task: TaskID = progress.add_task("indexing", total=source.total, documents=0, rate=0)

    def watch(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Move the bar as lines are read, since the answer to the first piece takes a while."""
        for count, line in enumerate(lines):
            if count % 100 == 0:
                self._progress.update(self._task, completed=self._source.position())
            yield line

    def show(self, loaded: Progressed) -> None:
        self._progress.update(
            self._task,
            description="applying" if loaded.is_sent else "indexing",
            completed=self._source.position(),
            documents=loaded.accepted,
            rate=loaded.accepted / max(loaded.took_s, 1e-9),
        )


class _Waits:
    """Prints that the load is waiting, and why: once for each kind of reason."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: set[type[UnavailableError]] = set()

    def show(self, error: UnavailableError, left_s: float) -> None:
        if type(error) not in self._shown:
            self._shown.add(type(error))
            text = f"gateway: waiting for up to {left_s:.0f} s: {error}"
            self._console.print(plain(text), soft_wrap=True)


class _Rejects:
    """Counts rejected lines, keeps the first few to show, and writes all of them to a file."""

    def __init__(self, file: IO[str] | None) -> None:
        self.total = 0
        self.first: list[Rejected] = []
        self._file = file

    def add(self, rejected: Rejected) -> None:
        self.total += 1
        if len(self.first) < NUM_SHOWN:
            self.first.append(rejected)
        if self._file is not None:
            record = {
                "line": rejected.line,
                **({"place": rejected.place} if rejected.place else {}),
                "reason": rejected.reason,
                "document": _as_json(rejected.document),
            }
            self._file.write(json.dumps(record) + "\n")


def _as_json(document: bytes) -> object:
    """Return the document, or the text in its place, so that it can be corrected and sent again."""
    try:
        return from_json(document)  # unlike json, it refuses deeply nested values
    except ValueError:
        return document.decode(errors="replace")


def _summarise(collection: str, loaded: Progressed, rejected: _Rejects) -> None:
    rate = loaded.accepted / max(loaded.took_s, 1e-9)
    sys.stdout.write(
        f"{collection}: {counted(loaded.accepted, 'document')} accepted in {loaded.took_s:.1f} s "
        f"({rate:,.0f}/s), {rejected.total:,} rejected\n"
    )
    for line in rejected.first:
        reason = printable(" ".join(line.reason.split()))
        sys.stderr.write(f"gateway: {plain(line.name)}: {reason}\n")
    if rejected.total > len(rejected.first):
        more = rejected.total - len(rejected.first)
        sys.stderr.write(f"gateway: and {more:,} more; --rejects FILE writes all of them\n")
