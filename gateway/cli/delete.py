"""`gateway delete`: deletes the documents of a collection that a query finds."""

import sys
import time
from typing import Annotated

import typer

from hedgerow.common.errors import HedgerowError
from hedgerow.common.observability.printable import printable
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Timeout, Token, Url
from hedgerow.gateway.cli.render import counted
from hedgerow.gateway.client import DeleteByQueryAnswer

_ONE_REQUEST_MS = 20_000.0


def delete(
    collection: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="The query; '*' for all documents.")
    ],
    filter_: Annotated[
        str, typer.Option("--filter", help="Query that the documents must match too.")
    ] = "",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Delete at most this many documents.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be deleted.")
    ] = False,
    timeout: Timeout = "600s",
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Delete the documents of a collection that a query finds."""
    give_up_at = time.monotonic() + options.parse_duration_ms(timeout) / 1000
    num_deleted = 0
    with options.connect(url, token, verify=ca_file or True) as client:
        while True:
            left_ms = max(1.0, (give_up_at - time.monotonic()) * 1000)
            answer = client.delete_by_query(
                collection,
                query,
                filter=filter_,
                limit=None if limit is None else limit - num_deleted,
                timeout_ms=min(_ONE_REQUEST_MS, left_ms),
                dry_run=dry_run,
            )
            num_deleted += answer.deleted
            is_over = answer.complete or dry_run or not answer.deleted
            if is_over or num_deleted == limit or time.monotonic() >= give_up_at:
                break
            sys.stderr.write(f"{counted(num_deleted, 'document')} deleted so far\n")
    for warning in answer.warnings:
        sys.stderr.write(f"warning: {printable(warning)}\n")
    if dry_run:
        sys.stdout.write(f"{_found(answer)} would be deleted\n")
    else:
        sys.stdout.write(f"{counted(num_deleted, 'document')} deleted\n")
    for one in answer.missing_shards:
        reason = f"{one.outcome}: {one.reason}" if one.reason else one.outcome
        sys.stderr.write(printable(f"shard {one.shard} was not searched: {reason}") + "\n")
    if answer.reason is not None and num_deleted != limit:
        raise HedgerowError(f"some documents may be left: {answer.reason}")


def _found(answer: DeleteByQueryAnswer) -> str:
    number = counted(answer.found.value, "document")
    return number if answer.found.relation == "eq" else f"at least {number}"
