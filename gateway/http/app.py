"""The HTTP application."""

from functools import partial

import msgspec
from starlette.applications import Starlette
from starlette.types import ASGIApp

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.http.openapi import describe_interface
from hedgerow.gateway.http.ports import GatewayPort
from hedgerow.gateway.http.requests.guard import Guard
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
from hedgerow.gateway.http.routing.application import make_app
from hedgerow.gateway.http.routing.router import Route
from hedgerow.gateway.http.search.batch_route import batch_routes
from hedgerow.gateway.http.search.search_app import SearchApp, search_routes
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
    routed = create_routed_app(gateway, settings, access, body)
    app = SearchApp(routed, gateway, settings, body)

    def real_name(name: str) -> str:
        return gateway.collections.real_name(name)  # other collections after a split

    return Guard(app, access, real_name)


def create_routed_app(
    gateway: GatewayPort,
    settings: GatewaySettings,
    access: AccessControl | None = None,
    body: type[msgspec.Struct] | None = None,
) -> Starlette:
    """Make the application for everything but searches, which it only describes.

    Args:
        gateway: answers.
        settings: limits and defaults.
        access: access control; by default as the settings say, without keys.
        body: the body of a search; by default made from the settings.
    """
    body = body or search_body(settings)
    batch = batch_shapes(settings, body)
    routes = [
        *search_routes(body).routes,
        *batch_routes(gateway, settings, batch).routes,
        *all_other_routes(gateway, settings, access or AccessControl(settings)),
    ]
    describe = partial(describe_interface, routes, (body, batch.body))
    return make_app(routes, docs_routes(describe))


def all_other_routes(
    gateway: GatewayPort, settings: GatewaySettings, access: AccessControl
) -> list[Route]:
    """Make the routes of everything but searches."""
    routers = [
        collection_routes(gateway, settings),
        suggest_routes(gateway, settings),
        document_routes(gateway, settings),
        expiry_routes(gateway, settings),
        synonym_routes(gateway, settings.max_synonyms_bytes),
        alias_routes(gateway, settings),
        status_routes(gateway, settings, access),
        event_routes(gateway),
        metrics_routes(gateway, settings, access),
        snapshot_routes(gateway),
        quarantine_routes(gateway),
        reload_routes(gateway),
        placement_routes(gateway),
        split_routes(gateway),
        reindex_routes(gateway, settings),
        page_routes(),
    ]
    return [route for router in routers for route in router.routes]
