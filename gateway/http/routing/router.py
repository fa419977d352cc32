"""Collects the routes of a part of the interface."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from starlette.routing import compile_path

from hedgerow.gateway.http.routing.parameters import Handler, Parameters

H = TypeVar("H", bound=Handler)


class Route:
    """A handler, and the requests that it answers.

    Attributes:
        method: the method of the requests.
        path: their path, as in `/v1/collections/{name}`; `{name:path}` may have slashes.
        shown_path: the path, as OpenAPI shows it.
        handler: answers them.
        parameters: what the handler is called with.
        summary: what it does, in a few words.
        responses: its answers, by status, as OpenAPI describes them.
        body: members of OpenAPI's operation that describe the body of the request.
        is_described: whether the OpenAPI document names it.
    """

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        summary: str,
        responses: Mapping[int | str, Any],
        body: Mapping[str, Any],
        *,
        is_described: bool,
    ) -> None:
        self.method = method
        self.path = path
        self.handler = handler
        self.summary = summary
        self.responses = responses
        self.body = body
        self.is_described = is_described
        _, self.shown_path, in_path = compile_path(path)
        self.parameters = Parameters(handler, in_path)


class Router:
    """Routes that are made together.

    Attributes:
        routes: in the order of their definition.
    """

    def __init__(self, *, is_described: bool = True) -> None:
        """Begin without routes; `is_described` as that of `Route`."""
        self.routes: list[Route] = []
        self._is_described = is_described

    def get(self, path: str, **described: Any) -> Callable[[H], H]:
        """Decorate a handler of GET; for the rest, see `add`."""
        return self.add("GET", path, **described)

    def post(self, path: str, **described: Any) -> Callable[[H], H]:
        """Decorate a handler of POST; for the rest, see `add`."""
        return self.add("POST", path, **described)

    def put(self, path: str, **described: Any) -> Callable[[H], H]:
        """Decorate a handler of PUT; for the rest, see `add`."""
        return self.add("PUT", path, **described)

    def patch(self, path: str, **described: Any) -> Callable[[H], H]:
        """Decorate a handler of PATCH; for the rest, see `add`."""
        return self.add("PATCH", path, **described)

    def delete(self, path: str, **described: Any) -> Callable[[H], H]:
        """Decorate a handler of DELETE; for the rest, see `add`."""
        return self.add("DELETE", path, **described)

    def add(
        self,
        method: str,
        path: str,
        summary: str = "",
        responses: Mapping[int | str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Callable[[H], H]:
        """Decorate the handler of a route.

        Args:
            method: the method.
            path: the path.
            summary: as that of `Route`.
            responses: likewise.
            body: likewise.
        """

        def decorate(handler: H) -> H:
            route = Route(
                method,
                path,
                handler,
                summary,
                responses or {},
                body or {},
                is_described=self._is_described,
            )
            self.routes.append(route)
            return handler

        return decorate
