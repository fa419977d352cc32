"""`gateway top`: the cluster in a terminal, second by second."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live as Screen

from hedgerow.common.errors import UnavailableError
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.event_stream import Message, follow
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.cli.render import output
from hedgerow.gateway.cli.top_view import TopView
from hedgerow.gateway.client.link import Link

_PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0)


def top(
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Print the state once, and exit; so it does when output is piped."
        ),
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Watch shards, workers, throughput, answer times and events, second by second."""
    options.check_environment()
    link = Link(url, token, verify=ca_file or True)
    console = output()
    if once or not console.is_terminal:
        console.print(first_view(follow(link)))
        return
    with suppress(KeyboardInterrupt):
        _watch(link, console)


def first_view(messages: Iterator[Message]) -> TopView:
    """Take messages until there is a status.

    Raises:
        UnavailableError: the stream has ended before.
    """
    view = TopView()
    for message in messages:
        view.take(message)
        if view.status is not None:
            return view
    raise UnavailableError("the gateway has ended the stream of events")


def _watch(link: Link, console: Console) -> None:
    """Show the state until Ctrl-C; begins again when the gateway does.

    Raises:
        HedgerowError: the gateway refuses, or does not answer the first time.
    """
    view = TopView(is_live=True)
    pauses = deque(_PAUSES_S)
    with Screen(view, console=console, screen=True, auto_refresh=False) as screen:
        while True:
            try:
                for message in follow(link):
                    view.take(message)
                    view.trouble = ""
                    pauses = deque(_PAUSES_S)
                    if message.name in {"status", "event"}:
                        screen.refresh()
                view.trouble = "the gateway has ended the stream"
            except UnavailableError as error:
                if view.status is None:
                    raise
                view.trouble = str(error)
            screen.refresh()
            time.sleep(pauses[0])
            if len(pauses) > 1:
                pauses.popleft()
