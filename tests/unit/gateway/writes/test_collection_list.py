"""The answer with all collections: what it is, and what it costs while a client does not read."""

import asyncio
import json
import tracemalloc
from typing import Any

import pytest
from starlette.types import Message

from hedgerow.common.collection import Collection, define
from hedgerow.gateway.http.routes.collection_list import list_response
from hedgerow.gateway.writes.collection_list import (
    CollectionList,
    ListedCollection,
    counts_json,
    definition_json,
)

PROFILES = ["bm25", "noop"]
NUM_CLIENTS = 40


def large(number: int) -> Collection:
    """A collection with as many fields as there may be, with long names."""
    fields = {f"f{field}".ljust(100, "x"): "keyword" for field in range(256)}
    return define(f"c{number}", {"fields": fields}, uid=f"u{number}")


async def listed(collections: list[Collection]) -> tuple[ListedCollection, ...]:
    """Collections of one document each, as callers get them."""
    counts = {one.uid: {1: 1} for one in collections}
    return await CollectionList(PROFILES, 2).encode(collections, counts)


class Client:
    """A client that reads nothing after the first `patience` pieces, until the test lets it."""

    def __init__(self, patience: float) -> None:
        self.go_on = asyncio.Event()
        self.has_stopped = asyncio.Event()
        self.messages: list[Message] = []
        self._patience = patience

    async def send(self, message: Message) -> None:
        """Take a message of the answer."""
        self.messages.append(message)
        if len(self.messages) > self._patience:
            self.has_stopped.set()
            await self.go_on.wait()

    async def receive(self) -> Message:
        """Stay until the end."""
        await asyncio.Event().wait()
        raise AssertionError

    @property
    def body(self) -> bytes:
        """What has come of the body."""
        return b"".join(message.get("body", b"") for message in self.messages)


SCOPE: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "GET"}


@pytest.mark.parametrize("num_collections", [0, 1, 30])
async def test_the_answer_is_the_list_of_descriptions(num_collections: int) -> None:
    """It is JSON with each collection as it is described alone, and as long as its head says."""
    collections = [large(number) for number in range(num_collections)]
    client = Client(float("inf"))
    await list_response(await listed(collections))(SCOPE, client.receive, client.send)
    assert json.loads(client.body) == {
        "collections": [
            {**definition_json(one, PROFILES), **counts_json({1: 1}, 2)} for one in collections
        ]
    }
    assert (b"content-length", str(len(client.body)).encode()) in client.messages[0]["headers"]


async def test_clients_that_do_not_read_hold_references_only() -> None:
    """Forty of them that stop after two pieces cost a tenth of a list each, at most."""
    collections = await listed([large(number) for number in range(64)])
    list_bytes = sum(len(one.definition) for one in collections)
    clients = [Client(patience=2) for _ in range(NUM_CLIENTS)]
    tracemalloc.start()
    try:
        answers = [
            asyncio.create_task(list_response(list(collections))(SCOPE, one.receive, one.send))
            for one in clients
        ]
        for one in clients:
            await one.has_stopped.wait()
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < NUM_CLIENTS * list_bytes / 10
    for one in clients:
        one.go_on.set()
    await asyncio.gather(*answers)
    assert len({one.body for one in clients}) == 1
