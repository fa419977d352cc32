"""Either kind of client against real sockets, and what servers answer it."""

import asyncio
import inspect
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hedgerow.gateway.client import AsyncClient, Client
from tests.integration.support.raw_server import Connection
from tests.support.sample_results import make_result

PROBLEM = json.dumps({"detail": "body: too large", "field": "body", "reason": "too large"}).encode()
LOADED = b'{"accepted": 1, "rejected": [], "rejected_total": 0, "applied": true}'
DOCUMENT = {"id": "1", "text": "x" * 1000}


class EitherKind:
    """Calls methods of one kind of client, with one event loop for as long as it is open."""

    def __init__(self, kind: type[Client] | type[AsyncClient]) -> None:
        self.kind = kind
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []

    def connect(self, url: str, **options: Any) -> Callable[..., Any]:
        """Return how to call the methods of a client."""
        client: Any = self.kind(url, **options)
        self._clients.append(client)
        return lambda method, *arguments, **options: self._call(client, method, arguments, options)

    def _call(self, client: Any, method: str, arguments: Any, options: Any) -> Any:
        found = getattr(client, method)(*arguments, **options)
        return self._runner.run(found) if inspect.iscoroutine(found) else found

    def close(self) -> None:
        """Close all clients and the loop."""
        for client in self._clients:
            self._call(client, "close", (), {})
        self._runner.close()


@pytest.fixture(params=[Client, AsyncClient], ids=lambda kind: kind.__name__)
def either(request: pytest.FixtureRequest) -> Iterator[EitherKind]:
    """Either kind of client."""
    either = EitherKind(request.param)
    yield either
    either.close()


def answer_to(query: str) -> bytes:
    """An answer that names its query."""
    return json.dumps({**make_result().to_json(), "warnings": [query]}).encode()


def query_of(body: bytes) -> str:
    """The query of a search."""
    query: str = json.loads(body)["query"]
    return query


def answer_all(connection: Connection, headers: str = "") -> None:
    """Answer each search by naming its query."""
    while (request := connection.read_request()) is not None:
        connection.answer(answer_to(query_of(request[1])), headers=headers)


def endless(drawn: list[int]) -> Iterator[dict[str, str]]:
    """Endless documents, of which `drawn` counts those that were drawn."""
    for number in itertools.count():
        drawn[0] = number
        yield DOCUMENT


def refuse_early(connection: Connection) -> None:
    """Answer a load after its first bytes, and take no more of it; answer searches."""
    head = connection.read_head()
    if b"/documents" in head:
        connection.answer(PROBLEM, "413 Content Too Large")
        assert connection.is_left(10)
        connection.read_to_end()
    else:
        connection.answer(answer_to("a search"))
