"""The page at `/docs`, which shows `/openapi.json`; all that it loads comes from this gateway."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from hedgerow.gateway.http import docs
from hedgerow.gateway.http.problems import json_response
from hedgerow.gateway.views.shared_run import SharedRun

SCRIPT: Final = "openapi-explorer.min.js"
LICENCES: Final = "LICENCES.txt"
_FOLDER: Final = Path(docs.__file__).parent

# Addresses are relative, so that they also hold behind a proxy that adds a prefix. The page has no
# script of its own. The viewer styles its elements by attributes, hence 'unsafe-inline' for styles.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE: Final = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hedgerow: HTTP interface</title>
<link rel="icon" href="data:,">
<link rel="license" href="docs/{LICENCES}">
<script defer src="docs/{SCRIPT}"></script>
<style>body {{ margin: 0 }}</style>
</head>
<body>
<openapi-explorer spec-url="openapi.json" hide-server-selection></openapi-explorer>
</body>
</html>
"""
_HEADERS: Final = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}


def docs_routes(describe: Callable[[], dict[str, Any]]) -> list[Route]:
    """Make the routes of the page, its script, the script's licences, and `/openapi.json`.

    Args:
        describe: describes the interface as an OpenAPI document; called once, by a thread.
    """

    async def page(_request: Request) -> Response:
        return HTMLResponse(PAGE, headers=_HEADERS)

    async def script(_request: Request) -> Response:
        return FileResponse(_FOLDER / SCRIPT, media_type="text/javascript", headers=_HEADERS)

    async def licences(_request: Request) -> Response:
        return FileResponse(_FOLDER / LICENCES, media_type="text/plain", headers=_HEADERS)

    described: list[dict[str, Any]] = []

    async def describe_aside() -> None:
        if not described:
            described.append(await asyncio.to_thread(describe))

    # It takes some 50 ms of CPU, which searches must not wait for.
    first = SharedRun(describe_aside)

    async def document(request: Request) -> Response:
        if not described:
            await first.result()
        root = request.scope.get("root_path")  # where another application has this one
        return json_response(described[0] | ({"servers": [{"url": root}]} if root else {}))

    return [
        Route("/openapi.json", document),
        Route("/docs", page),
        Route(f"/docs/{SCRIPT}", script),
        Route(f"/docs/{LICENCES}", licences),
    ]
