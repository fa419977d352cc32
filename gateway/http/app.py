"""The HTTP application."""

from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from common.config import GatewaySettings
from gateway.http.collection_routes import collection_routes, document_routes
from gateway.http.limits import RequireToken
from gateway.http.parameters import check_request
from gateway.http.ports import GatewayPort
from gateway.http.problems import add_handlers
from gateway.http.quarantine_routes import quarantine_routes
from gateway.http.schema import add_openapi
from gateway.http.search_app import SearchApp, describe_search
from gateway.http.search_body import search_body
from gateway.http.snapshot_routes import snapshot_routes
from gateway.http.status_routes import status_routes


def create_app(gateway: GatewayPort, settings: GatewaySettings) -> ASGIApp:
    """Make the application over a connected gateway, which outlives it.

    Args:
        gateway: answers; opened and closed by the caller, so that a gateway that cannot start is
            an error of the caller's and not of the HTTP server's.
        settings: limits, defaults, and the bearer token.
    """
    app: ASGIApp = SearchApp(create_framework_app(gateway, settings), gateway, settings)
    if settings.token is not None:
        app = RequireToken(app, settings.token.get_secret_value())
    return app


def create_framework_app(gateway: GatewayPort, settings: GatewaySettings) -> FastAPI:
    """Make what answers all but searches, and describes them all (`openapi`)."""
    app = FastAPI(
        title="Hedgerow",
        version=version("hedgerow"),
        description="Answers from sharded Python workers, by the deadline, with honest coverage.",
        redoc_url=None,
        dependencies=[Depends(check_request)],
    )
    model = search_body(settings)
    describe_search(app, model)
    app.include_router(collection_routes(gateway, settings))
    app.include_router(document_routes(gateway, settings))
    app.include_router(status_routes(gateway, settings))
    app.include_router(snapshot_routes(gateway))
    app.include_router(quarantine_routes(gateway))
    add_openapi(app, model)
    add_handlers(app)
    return app
