"""Makes an application of routes: Starlette finds the route, and every failure is a problem."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as StarletteRoute

from hedgerow.gateway.http.problems import add_handlers
from hedgerow.gateway.http.requests.guard import OPEN_PATHS
from hedgerow.gateway.http.requests.parameters import check_parameters
from hedgerow.gateway.http.requests.rights import check_rights
from hedgerow.gateway.http.routing.router import Route


def make_app(routes: Sequence[Route], others: Sequence[BaseRoute] = ()) -> Starlette:
    """Make an application.

    Args:
        routes: answered by their handlers, once the caller's rights and the parameters are checked.
        others: routes that need no right, and ignore parameters.
    """
    app = Starlette(routes=[*map(_served, routes), *others])
    # To a path without its last slash. Callers would send their key and body to where it leads:
    # behind a proxy that ends TLS, in the clear.
    app.router.redirect_slashes = False
    add_handlers(app)
    return app


def _served(route: Route) -> StarletteRoute:
    async def endpoint(request: Request) -> Response:
        in_path = check_rights(request.scope, route.method, route.path, request.path_params)
        check_parameters(request.scope, route.parameters.in_query)
        arguments = route.parameters.arguments(request, in_path, request.query_params)
        return await route.handler(**arguments)

    served = StarletteRoute(route.path, endpoint, methods=[route.method])
    # Starlette adds HEAD to every GET. Programs that watch whether a server is up use it.
    served.methods = {route.method, "HEAD"} if route.path in OPEN_PATHS else {route.method}
    return served
