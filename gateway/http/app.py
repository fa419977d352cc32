"""The HTTP application."""

import msgspec
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from hedgerow.common import __version__
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.http.openapi import add_openapi
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.problems import add_handlers
from hedgerow.gateway.http.requests.guard import Guard
from hedgerow.gateway.http.requests.parameters import check_request
from hedgerow.gateway.http.requests.rights import check_rights
from hedgerow.gateway.http.routes.alias_routes import alias_routes
from hedgerow.gateway.http.routes.collection_routes import collection_routes, document_routes
from hedgerow.gateway.http.routes.docs_routes import docs_routes
from hedgerow.gateway.http.routes.event_routes import event_routes
from hedgerow.gateway.http.routes.expiry_routes import expiry_routes
from hedgerow.gateway.http.routes.metrics_routes import metrics_routes
from hedgerow.gateway.http.routes.page_routes import page_routes
from hedgerow.gateway.http.routes.placement_routes import placement_routes
from hedgerow.gateway.http.routes.quarantine_routes import quarantine_routes
from hedgerow.gateway.http.routes.reindex_routes import reindex_routes
from hedgerow.gateway.http.routes.reload_routes import reload_routes
from hedgerow.gateway.http.routes.snapshot_routes import snapshot_routes
from hedgerow.gateway.http.routes.split_routes import split_routes
from hedgerow.gateway.http.routes.status_routes import status_routes
from hedgerow.gateway.http.routes.suggest_routes import suggest_routes
from hedgerow.gateway.http.routes.synonym_routes import synonym_routes
from hedgerow.gateway.http.search.batch_route import batch_routes
from hedgerow.gateway.http.search.search_app import SearchApp, describe_search
from hedgerow.gateway.search.batch_body import batch_shapes
from hedgerow.gateway.search.search_body import search_body


def create_app(
    gateway: GatewayPort, settings: GatewaySettings, access: AccessControl | None = None
) -> ASGIApp:
    """Make the application for a connected gateway, which outlives it.

    Args:
        gateway: answers; the caller opens and closes it, so that a gateway that cannot start is
            the caller's error, not the HTTP server's.
        settings: limits and defaults.
        access: access control; by default as the settings say, without keys.
    """
    access = access or AccessControl(settings)
    body = search_body(settings)
    framework = create_framework_app(gateway, settings, access, body)
    app = SearchApp(framework, gateway, settings, body)

    def real_name(name: str) -> str:
        return gateway.collections.real_name(name)  # other collections after a split

    return Guard(app, access, real_name)


def create_framework_app(
    gateway: GatewayPort,
    settings: GatewaySettings,
    access: AccessControl | None = None,
    body: type[msgspec.Struct] | None = None,
) -> FastAPI:
    """Make the application for everything but searches, which describes them too (`openapi`).

    Args:
        gateway: answers.
        settings: limits and defaults.
        access: access control; by default as the settings say, without keys.
        body: the body of a search; by default made from the settings.
    """
    access = access or AccessControl(settings)
    body = body or search_body(settings)
    app = FastAPI(
        title="Hedgerow",
        version=__version__,
        description="Answers from sharded Python workers, by the deadline, with honest coverage.",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(check_rights), Depends(check_request)],
        generate_unique_id_function=lambda route: route.name,  # what generated clients call it
    )
    describe_search(app, body)
    batch = batch_shapes(settings, body)
    app.include_router(batch_routes(gateway, settings, batch))
    app.include_router(collection_routes(gateway, settings))
    app.include_router(suggest_routes(gateway, settings))
    app.include_router(document_routes(gateway, settings))
    app.include_router(expiry_routes(gateway, settings))
    app.include_router(synonym_routes(gateway, settings.max_synonyms_bytes))
    app.include_router(alias_routes(gateway, settings))
    app.include_router(status_routes(gateway, settings, access))
    app.include_router(event_routes(gateway))
    app.include_router(metrics_routes(gateway, settings, access))
    app.include_router(snapshot_routes(gateway))
    app.include_router(quarantine_routes(gateway))
    app.include_router(reload_routes(gateway))
    app.include_router(placement_routes(gateway))
    app.include_router(split_routes(gateway))
    app.include_router(reindex_routes(gateway, settings))
    app.include_router(page_routes())
    app.router.routes.extend(docs_routes())
    add_openapi(app, (body, batch.body))
    add_handlers(app)
    return app
