"""Ids, collections and loads that would harm others, against a cluster as `gateway up` makes it."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from hedgerow.common.errors import OverloadedError
from hedgerow.gateway.client import AsyncClient
from tests.support.up import Caller, Up, running_up
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

FIELDS = {"fields": {"title": "text"}}
ODD_IDS = [
    "victim",
    "a/b",
    "a//b",
    "/a",
    "a/",
    "//",
    "a%2Fb",
    "%",
    "%2F",
    "%2e%2e",
    "a%0A",
    "a?b=c",
    *("a#b", "a;b", "a+b", "a b", " ", " a ", "a&b", "a=b", "...", "a/..", "../a", "./a", "a/./b"),
    "é",
    "日本語",
    "😀",
    "\u202eabc",
    "\u00a0",
    "\ufeff",
    "\u200b",
    '"',
    "'",
    "\\",
    "<>",
    "{}",
    "[]",
    "|",
    "^",
    "`",
    "~",
    ":",
    "@",
    "$",
    "!",
    "*",
    "()",
    ",",
    "null",
    "0",
    "-1",
    "CON",
    "a" * 512,
]
UNUSABLE = [
    "\n",
    "victim\n",
    "a\nb",
    "\x00",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\u2028",
    "\uffff",
    ".",
    "..",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(data: Path) -> AsyncIterator[Up]:
    """A cluster of two shards with one scorer, and room for few collections and loads."""
    async with running_up(
        data,
        "--shards",
        "2",
        "--workers",
        "1",
        HEDGEROW_WORKER__SCORERS="1",
        HEDGEROW_LIMITS__MAX_COLLECTIONS="3",
        HEDGEROW_GATEWAY__MAX_LOADS="4",
        HEDGEROW_GATEWAY__LOAD_IDLE_S="1.0",
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the cluster."""
    return tmp_path_factory.mktemp("cluster") / "data"


@pytest_asyncio.fixture(loop_scope="module")
async def up(cluster: Up) -> AsyncIterator[Up]:
    """The cluster, whose collections are dropped after the test."""
    yield cluster
    async with Caller(cluster.url) as caller:
        for one in (await caller.http.get("/v1/collections")).json()["collections"]:
            assert (await caller.http.delete(f"/v1/collections/{one['name']}")).is_success


def random_ids(count: int) -> list[str]:
    """Ids of characters that mean something in an address or a terminal, and of any others."""
    rng = random.Random(11)
    letters = "/?#%+;.:&=\\\"'<> aA0é日😀\u202e"
    return ["".join(rng.choices(letters, k=rng.randint(1, 12))) + "x" for _ in range(count)]


async def test_what_loads_can_be_read_and_deleted(up: Up) -> None:
    """Each id that a load takes is found, read, replaced and removed under that id alone."""
    ids = list(dict.fromkeys([*ODD_IDS, *random_ids(100)]))
    async with AsyncClient(up.url) as client:
        await client.put_collection("c", fields={"title": "text"})
        documents = [{"id": one, "title": f"wing {n}"} for n, one in enumerate([*ids, *UNUSABLE])]
        report = await client.index("c", documents)
        assert report.accepted == len(ids)
        assert [rejected.line for rejected in report.rejected] == [
            len(ids) + 1 + n for n in range(len(UNUSABLE))
        ]
        for number, one in enumerate(ids):
            found = await client.get_document("c", one)
            assert (found["id"], found["title"]) == (one, f"wing {number}")
        for one in ids:
            await client.put_document("c", one, {"title": "tail"}, wait="logged")
        await client.put_document("c", ids[-1], {"id": ids[-1], "title": "tail feather"})
        # The wait above is for one shard's log; the others may still be at it.
        await until(partial(_num_found, client, "wing", 0))
        for one in ids[:-1]:
            assert await client.get_document("c", one) == {"id": one, "title": "tail"}
        assert await _found(client, "tail") == set(ids)
        await client.index("c", [{"id": "last", "title": "tail"}])
        for one in ids:
            await client.delete_document("c", one, wait="logged")
        await until(partial(_num_found, client, "tail", 1))
        assert await _found(client, "tail") == {"last"}


async def _num_found(client: AsyncClient, query: str, count: int) -> bool:
    return len(await _found(client, query)) == count


async def _found(client: AsyncClient, query: str) -> set[str]:
    """All that a search finds, by a deadline that a busy machine can meet."""
    answer = await client.search("c", query, k=1000, fields=False, deadline_ms=20_000.0)
    assert answer.coverage.is_full
    return {hit.id for hit in answer.hits}


async def test_a_path_that_only_looks_like_a_document_removes_none(up: Up) -> None:
    """An id with a newline at its end, and the like, is refused; the document stays."""
    async with Caller(up.url) as caller:
        assert (await caller.http.put("/v1/collections/c", json=FIELDS)).is_success
        line = json.dumps({"id": "victim", "title": "wing"})
        assert (await caller.http.post("/v1/collections/c/documents", content=line)).is_success
        host = urlsplit(up.url)
        for path in (
            "/v1/collections/c/documents/victim%0A",
            "/v1/collections/c/documents/victim%00",
            "/v1/collections/c/documents/%2E%2E",
            "/v1/collections/c/documents/..",
            "/v1/collections/c/documents/.",
            "/v1/collections/c/documents/",
            "/v1/collections/c%0A",
        ):
            status = await raw_status(host.hostname or "", host.port or 0, "DELETE", path)
            assert status == 400, path
        assert (await caller.http.get("/v1/collections/c/documents/victim")).is_success
        assert (await caller.http.get("/v1/collections/c")).json()["documents"] == 1


async def raw_status(host: str, port: int, method: str, path: str) -> int:
    """The status of a request whose path no library has touched."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        line = await reader.readline()
        return int(line.split()[1])
    finally:
        writer.close()


def maps_of(pids: list[int], data: Path) -> list[str]:
    """The indexes of a data folder that some processes have mapped, deleted ones included."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return [line for line in lines if str(data) in line and "/store.sqlite" not in line]


async def test_scorers_let_go_of_collections_that_are_dropped(up: Up, data: Path) -> None:
    """After many rounds of create, search and drop, nothing that was deleted is mapped."""
    async with AsyncClient(up.url) as client:
        most = 0
        for number in range(15):
            name = f"c{number}"
            await client.put_collection(name, fields={"title": "text"})
            await client.index(name, [{"id": str(n), "title": "wing"} for n in range(8)])
            answer = await client.search(name, "wing", deadline_ms=5000.0)
            assert answer.coverage.is_full
            await client.delete_collection(name)
            (worker,) = (await client.status()).workers
            most = max(most, len(maps_of(worker.lanes.process.pids, data)))
        pids = worker.lanes.process.pids
        await until(lambda: not maps_of(pids, data), what="nothing is mapped")
        (again,) = (await client.status()).workers
        assert again.lanes.process.pids == pids
        assert most > 0


async def test_the_number_of_collections_is_bounded(up: Up) -> None:
    """Of many that are created at once as many as the limit are there, and it is named."""
    async with Caller(up.url) as caller:

        async def put(name: str) -> Any:
            return await caller.http.put(f"/v1/collections/{name}", json=FIELDS)

        answers = await asyncio.gather(*(put(f"c{n}") for n in range(12)))
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [409] * 9
        refused = next(answer.json() for answer in answers if answer.status_code == 409)
        assert "limits.max_collections" in refused["detail"]
        listed = (await caller.http.get("/v1/collections")).json()["collections"]
        names = [one["name"] for one in listed]
        assert len(names) == 3
        assert (await put(names[0])).is_success  # it is there: nothing is created
        assert (await caller.http.delete(f"/v1/collections/{names[0]}")).is_success
        assert (await put("another")).is_success


async def test_loads_that_send_nothing_give_way(up: Up) -> None:
    """Half-sent loads are bounded in number, and do not keep others from loading."""
    async with AsyncClient(up.url) as client:
        await client.put_collection("c", fields={"title": "text"})
        halves = [await Half.send(up.url) for _ in range(12)]
        try:
            await until(lambda: sum(one.is_answered for one in halves) >= 8, what="refused")
            assert all(one.status in (429, 503) for one in halves if one.is_answered)
            await until(lambda: loads(client), what="a load is taken")
        finally:
            for one in halves:
                one.close()


class Half:
    """A load of which one line is sent, but for its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._answer = asyncio.create_task(reader.readline())

    @classmethod
    async def send(cls, url: str) -> "Half":
        """Send it."""
        host = urlsplit(url)
        reader, writer = await asyncio.open_connection(host.hostname, host.port)
        writer.write(
            b"POST /v1/collections/c/documents HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nf0000\r\n" + b'{"id":"' + b"x" * 800_000
        )
        return cls(reader, writer)

    @property
    def is_answered(self) -> bool:
        """Whether the gateway has answered, or hung up."""
        return self._answer.done()

    @property
    def status(self) -> int:
        """The status of the answer."""
        return int(self._answer.result().split()[1])

    def close(self) -> None:
        """Hang up."""
        self._answer.cancel()
        self._writer.close()


async def loads(client: AsyncClient) -> bool:
    """Whether a load of one document is taken now."""
    try:
        report = await client.index("c", [{"id": "a", "title": "wing"}])
    except OverloadedError:
        return False
    return report.accepted == 1
