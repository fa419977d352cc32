"""`gateway optimise`: merges the segments of a collection's text indexes."""

import time
from typing import Annotated, Final

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from hedgerow.common.errors import NotFoundError, UnavailableError
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Timeout, Token, Url
from hedgerow.gateway.cli.progress import progress
from hedgerow.gateway.cli.render import counted, output
from hedgerow.gateway.client import Client
from hedgerow.gateway.shapes.status import IndexStatus

POLL_S: Final = 0.25


def optimise(
    collection: Annotated[str, typer.Argument(metavar="NAME", help="The collection.")],
    timeout: Timeout = "600s",
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Merge the segments of a collection's text indexes, so that searches cost less."""
    started = time.monotonic()
    give_up_at = started + options.parse_duration_ms(timeout) / 1000
    with options.connect(url, token, verify=ca_file or True) as client, _progress() as progress:
        before = _index(client, collection)
        wanted_at_ms = client.optimise(collection).wanted_at_ms
        task = progress.add_task(f"optimising {collection}", total=None, waiting="")
        while not _is_done(now := _index(client, collection), wanted_at_ms):
            progress.update(task, waiting=f"{counted(now.waiting or 0, 'replica')} to go")
            if time.monotonic() >= give_up_at:
                num = now.waiting or 0
                raise UnavailableError(
                    f"after {timeout} {counted(num, 'replica')} {'has' if num == 1 else 'have'} "
                    "yet to optimise the index; this goes on"
                )
            time.sleep(POLL_S)
    took_s = time.monotonic() - started
    output().print(
        f"optimised {collection} in {took_s:.1f} s: {_segments(before)} before, "
        f"{_segments(now)} now",
        highlight=False,
        markup=False,
    )


def _index(client: Client, name: str) -> IndexStatus:
    for collection in client.status().collections:
        if collection.name == name:
            return collection.index
    raise NotFoundError(f"there is no collection {name!r}")


def _is_done(index: IndexStatus, wanted_at_ms: int) -> bool:
    return index.waiting == 0 and (index.wanted_at_ms or 0) >= wanted_at_ms


def _segments(index: IndexStatus) -> str:
    return f"{counted(index.segments, 'segment')} a shard"


def _progress() -> Progress:
    return progress(SpinnerColumn(), TextColumn("{task.description} {task.fields[waiting]}"))
