"""The routes of the page for browsers."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hedgerow.gateway.http.requests.page_paths import is_for_browser
from hedgerow.gateway.http.routing.router import Router
from hedgerow.gateway.page.files import HEADERS, INDEX, PageFile, read_files


def page_routes() -> Router:
    """Make the routes of the page and its files, which hold nothing but the page."""
    router = Router(is_described=False)
    files = read_files()

    @router.get("/")
    async def page(request: Request) -> Response:
        if not is_for_browser(request.headers.get("accept", "")):
            raise HTTPException(404)  # programs find the interface at /openapi.json
        return _answer(files[INDEX], request)

    @router.get("/page/{name}")
    async def file(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404)
        return _answer(files[name], request)

    return router


def _answer(file: PageFile, request: Request) -> Response:
    headers = {**HEADERS, "ETag": file.etag}
    if request.url.path == "/":
        headers["Vary"] = "Accept"
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)
