"""Both clients behind one face, over the HTTP application of a scripted gateway."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import httpx

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.client import AsyncClient, Client
from hedgerow.gateway.http.app import create_app
from tests.support.fake_gateway import FakeGateway
from tests.unit.support.command_line import answer_by

URL = "http://localhost"
KINDS = [Client, AsyncClient]


class EitherClient:
    """Calls methods of one of the clients by name; `requests` are what it has sent.

    `answer`, when set, answers instead of the application.
    """

    def __init__(self, kind: type[Client] | type[AsyncClient], **options: Any) -> None:
        self.gateway = FakeGateway()
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response] | None = None
        self._app = create_app(self.gateway, GatewaySettings())
        handle: Any = self._handle if kind is Client else self._handle_async
        options = {"url": URL, **options}
        self.client: Any = kind(**options, transport=httpx.MockTransport(handle))

    def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method, and return what it returns."""
        answer = getattr(self.client, method)(*arguments, **options)
        return asyncio.run(answer) if inspect.iscoroutine(answer) else answer

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return (self.answer or answer_by(self._app))(request)

    async def _handle_async(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.answer is not None:
            return self.answer(request)
        return await httpx.ASGITransport(self._app).handle_async_request(request)
