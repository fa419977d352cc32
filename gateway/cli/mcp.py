"""`gateway mcp`: search, get and status as tools for agents (Model Context Protocol)."""

import asyncio
import os
import sys
from typing import Annotated, Final

import typer

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.cli.options import (
    DEFAULT_URL,
    CaFile,
    Token,
    Url,
    check_environment,
    parse_duration_ms,
)

_TOKEN_VARIABLE: Final = "HEDGEROW_MCP_TOKEN"  # noqa: S105 - the name of a variable


def mcp(
    http: Annotated[
        bool,
        typer.Option("--http", help="Listen for HTTP, instead of standard input and output."),
    ] = False,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help=f"With --http: the address to bind. Beyond this machine it needs {_TOKEN_VARIABLE}"
            " in the environment, which callers must send as a bearer token.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", help="With --http: the port; 0 takes any free one.")
    ] = 8765,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="With --http: a further name under which callers may reach it; may be repeated.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="With --http: an origin of web pages that may ask; may be repeated.",
        ),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A collection that may be read; may be repeated.",
            show_default="all",
        ),
    ] = None,
    deadline: Annotated[
        str, typer.Option(metavar="DURATION", help="Deadline of a search that names none.")
    ] = "1s",
    max_deadline: Annotated[
        str, typer.Option(metavar="DURATION", help="Longest deadline that a search may name.")
    ] = "10s",
    max_hits: Annotated[int, typer.Option(metavar="N", min=1, help="Most hits of a search.")] = 20,
    max_bytes: Annotated[
        int,
        typer.Option(metavar="BYTES", min=1024, help="Most bytes of the documents in an answer."),
    ] = 32_768,
    max_characters: Annotated[
        int,
        typer.Option(
            metavar="N", min=20, help="Most characters of one string; longer ones are cut."
        ),
    ] = 2_000,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Serve search, get and status as tools for agents, by the Model Context Protocol."""
    check_environment()
    try:
        from hedgerow.gateway.mcp.http import Listening  # noqa: PLC0415 - an optional extra
        from hedgerow.gateway.mcp.limits import Limits  # noqa: PLC0415
        from hedgerow.gateway.mcp.server import Asked, run_http, run_stdio  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "gateway mcp needs the extra mcp: pip install 'hedgerow[mcp]'"
        ) from error
    asked = Asked(url, token, verify=ca_file or True)
    limits = Limits(
        collections=tuple(collection or ()),
        max_hits=max_hits,
        max_bytes=max_bytes,
        max_characters=max_characters,
        deadline_ms=parse_duration_ms(deadline),
        max_deadline_ms=parse_duration_ms(max_deadline),
    )
    if not http:
        asyncio.run(run_stdio(asked, limits))
        return
    listening = Listening(
        host=host,
        port=port,
        token=os.environ.get(_TOKEN_VARIABLE),
        allowed_hosts=tuple(allow_host or ()),
        allowed_origins=tuple(allow_origin or ()),
    )
    asyncio.run(run_http(asked, limits, listening, _announce))


def _announce(url: str) -> None:
    sys.stderr.write(f"MCP at {url}\n")
    sys.stderr.flush()
