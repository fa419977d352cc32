"""Runs `gateway` in this process against the HTTP application over a scripted gateway."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.cli import main, options
from hedgerow.gateway.client import Client
from hedgerow.gateway.client.link import Verify
from hedgerow.gateway.http.app import create_app
from tests.support.fake_gateway import FakeGateway

Answerer = Callable[[httpx.Request], httpx.Response]


def answer_by(app: Any) -> Answerer:
    """Answer requests of the synchronous client by an ASGI application."""

    async def call(request: httpx.Request) -> httpx.Response:
        again = httpx.Request(
            request.method, request.url, headers=request.headers, content=request.read()
        )
        response = await httpx.ASGITransport(app).handle_async_request(again)
        return httpx.Response(
            response.status_code, headers=response.headers, content=await response.aread()
        )

    return lambda request: asyncio.run(call(request))


@dataclass
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs commands; `gateway` is who answers them, and `requests` what they sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.gateway = FakeGateway()
        self.requests: list[httpx.Request] = []
        self.answer: Answerer = answer_by(create_app(self.gateway, GatewaySettings()))
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name in (
            "HEDGEROW_URL",
            "HEDGEROW_GATEWAY__TOKEN",
            "HEDGEROW_LOG_LEVEL",
            "HEDGEROW_CA_FILE",
        ):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(options, "connect", self._connect)

    def _connect(self, url: str, token: str | None, *, verify: Verify) -> Client:
        return Client(url, token, verify=verify, transport=httpx.MockTransport(self._handle))

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    def fail_one_look(self, detail: str) -> None:
        """Answer the next GET with a 503, as while Redis fails over."""
        answer, looks = self.answer, 0

        def fail_once(request: httpx.Request) -> httpx.Response:
            nonlocal looks
            looks += request.method == "GET"
            away = request.method == "GET" and looks == 1
            return httpx.Response(503, json={"detail": detail}) if away else answer(request)

        self.answer = fail_once

    def run(self, *arguments: str) -> Ended:
        """Run `gateway ARGUMENTS`."""
        self._monkeypatch.setattr(sys, "argv", ["gateway", *arguments])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.run()
        printed = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        assert "Traceback" not in printed.err
        return Ended(ended.value.code, printed.out, printed.err)
