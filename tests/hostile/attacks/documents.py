"""Documents and collections that cost more than they look."""

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import islice

from tests.hostile.attack import FEW_SEARCHES, attack
from tests.hostile.attacks.queries import unexpected
from tests.hostile.processes import num_deleted_files, num_mappings
from tests.hostile.target import Target
from tests.support.waiting import comes_true

_LOADED = {200, 413}
_MOST_REFUSALS = 10


def _brackets(number: int) -> bytes:
    """A document of a list of 333,000 empty lists: 1 MB as JSON, 20 times that as objects."""
    return b'{"id":"b%d","title":"brackets","x":[%b[]]}\n' % (number, b"[]," * 333_000)


@attack(
    "400 documents of 1 MB that are lists of empty lists, then searches for 400 hits with fields",
    "7 GB in a worker; heartbeats lost; 380 of 408 normal searches not answered",
    max_s=60.0,
)
async def many_brackets(target: Target) -> list[str]:
    """What is read is measured before it is decoded, and an answer is bounded as it is built."""
    count = 400 if target.is_full else 100
    async with target.own_collection("brackets", {"title": "text"}):
        lines = map(_brackets, range(count))
        loaded = await target.load("brackets", lines, timeout_s=20.0 * (4 if target.is_full else 1))
        path = "/v1/collections/brackets/search"
        body = {"query": "brackets", "k": 400, "deadline_ms": 2_000}
        answers = await asyncio.gather(*(target.ask("POST", path, body) for _ in range(3)))
    return unexpected([loaded], _LOADED) + unexpected(answers, {200, 400, 413, 429, 503, 504})


@attack(
    "8 documents of 62,000 distinct fields into a new collection, and a line of 1 MB of brackets",
    "the gateway's loop stood for 4 s, and for 333 ms",
)
async def many_fields(target: Target) -> list[str]:
    """No part of a document occupies the event loop for long."""

    def wide(number: int) -> bytes:
        fields = (f'"f{number}x{field}":{field}' for field in range(62_000))
        return f'{{"id":"w{number}",{",".join(fields)}}}\n'.encode()

    async with target.own_collection("wide"):
        loaded = [await target.load("wide", map(wide, range(8)))]
        loaded.append(await target.load("wide", [_brackets(0), b"[" * 1_000_000 + b"\n"]))
        deep = b'{"id":"deep","x":' + b"[" * 500_000 + b"]" * 500_000 + b"}\n"
        loaded.append(await target.load("wide", [deep]))
    return unexpected(loaded, _LOADED)


@attack(
    "`DELETE …/documents/victim%0A` and ids with control characters, loaded, read and deleted",
    "204, and `victim` was gone; ids with a newline could be loaded and not be read",
    min_searches=FEW_SEARCHES,
)
async def ids_with_newlines(target: Target) -> list[str]:
    """What was loaded can be read and deleted under its own id, and under no other."""
    complaints = []
    async with target.own_collection("ids", {"title": "text"}) as name:
        base = f"/v1/collections/{name}/documents"
        await target.load(name, [b'{"id":"victim","title":"here"}\n'])
        for ending in ("%0A", "%0D", "%0D%0A", "%00", "%20", "%E2%80%A8"):
            await target.ask("DELETE", f"{base}/victim{ending}?wait=applied")
            if (await target.ask("GET", f"{base}/victim")).status != 200:
                complaints.append(f"DELETE victim{ending} took victim away")
                await target.load(name, [b'{"id":"victim","title":"here"}\n'])
        for path in (f"/v1/collections/{name}%0A/search", f"/v1/collections/{name}%0A"):
            answer = await target.ask(
                "POST" if "search" in path else "GET", path, {"query": "here"}
            )
            complaints += [f"{path}: {found}" for found in unexpected([answer], {400, 404})]
        for text, path in (
            ("a\nb", "a%0Ab"),
            ("c\td", "c%09d"),
            ("e\x7f", "e%7F"),
            ("g\n", "g%0A"),
        ):
            complaints += await _is_one_id(target, name, text, path)
    return complaints


async def _is_one_id(target: Target, collection: str, text: str, path: str) -> list[str]:
    line = json.dumps({"id": text, "title": "odd"}).encode() + b"\n"
    loaded = await target.load(collection, [line])
    url = f"/v1/collections/{collection}/documents/{path}"
    read = await target.ask("GET", url)
    deleted = await target.ask("DELETE", f"{url}?wait=applied")
    if loaded.status == 200 and json.loads(loaded.body)["accepted"] == 1:
        return [f"id {text!r} loads: GET {read.status}, DELETE {deleted.status}"] * (
            (read.status, deleted.status) != (200, 204)
        )
    return [f"id {text!r} does not load: GET {read.status}"] * (read.status not in (400, 404))


@attack(
    "a collection created, searched and dropped, 5,000 times",
    "65,532 mappings in each scorer; then every search failed until a restart",
    max_s=240.0,
)
async def churn_of_collections(target: Target) -> list[str]:
    """A dropped collection leaves nothing in the scorers."""
    rounds, at_once, within_s = (5_000, 8, 2_300.0) if target.is_full else (40, 4, 90.0)
    ends_at = time.monotonic() + within_s
    pids = _scorers(target)
    lines = [b'{"id":"d%d","title":"here and there"}\n' % number for number in range(5)]
    complaints: list[str] = []

    async def churn(name: str) -> int:
        path = f"/v1/collections/{name}"
        await target.ask("PUT", path, {"fields": {"title": "text"}})
        await target.load(name, lines)
        search = {"query": "here", "deadline_ms": 1_000}
        found = await target.ask("POST", f"{path}/search", search)
        for _ in range(_MOST_REFUSALS):
            if found.status != 429:
                break
            await asyncio.sleep(0.2)  # as a client does that was asked to come back
            found = await target.ask("POST", f"{path}/search", search)
        await target.ask("DELETE", path)
        return found.status

    await churn("churn-0")  # what the first brings is there for good
    before = [num_mappings(pid) + num_deleted_files(pid) for pid in pids]
    num_done = 1
    for names in _batches((f"churn-{number}" for number in range(1, rounds)), at_once):
        if time.monotonic() > ends_at:
            complaints.append(f"{num_done} collections of {rounds} when the time was up")
            break
        statuses = await asyncio.gather(*map(churn, names))
        if bad := [status for status in statuses if status != 200]:
            complaints.append(f"a search of a new collection was answered with {bad[0]}")
            break
        num_done += len(names)

    def growth() -> int:
        now = [num_mappings(pid) + num_deleted_files(pid) for pid in pids]
        return max(after - first for first, after in zip(before, now, strict=True))

    async def has_let_go() -> bool:
        return growth() < 100

    if not await comes_true(has_let_go, within_s=5.0):
        complaints.append(f"a scorer keeps {growth()} more mappings after {num_done} collections")
    return complaints


def _batches(names: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(islice(names, size)):
        yield batch


def _scorers(target: Target) -> list[int]:
    status = target.cluster.status()
    return [pid for worker in status["workers"] for pid in worker["lanes"]["process"]["pids"]]
