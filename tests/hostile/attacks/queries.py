"""Queries that fail, or that cost more than they look."""

import asyncio
import time
from collections.abc import Iterator
from itertools import cycle

from tests.hostile.attack import attack
from tests.hostile.cluster import COLLECTION
from tests.hostile.sockets import Answer
from tests.hostile.target import Target

_MAX_CHARS = 4096
# 429: a caller that asks for more than its share is refused, as it should be.
_UNDERSTOOD = {200, 400, 429}
_SEARCH = f"/v1/collections/{COLLECTION}/search"


def unexpected(answers: list[Answer], expected: set[int]) -> list[str]:
    """Complaints about answers of an unexpected status, one for each status."""
    counts: dict[int, int] = {}
    for answer in answers:
        if answer.status not in expected:
            counts[answer.status] = counts.get(answer.status, 0) + 1
    return [
        f"{count} of {len(answers)} were answered with {status or 'nothing'}"
        for status, count in sorted(counts.items())
    ]


@attack(
    "a range without a bound (`id:<\\`), five times at once, then ten times a second",
    "both shards failed, both breakers opened, and every caller got 503",
)
async def bad_range(target: Target) -> list[str]:
    """A query that the text index cannot take is its caller's fault alone."""
    texts = cycle(("id:<\\", "id:>=\\", "id:[\\ TO \\]", "line:<\\", "name:[* TO \\}"))
    answers = await asyncio.gather(*(target.search("id:<\\") for _ in range(5)))
    answers += await asyncio.gather(*(target.search("word", filter="id:<\\") for _ in range(5)))
    for _ in range(30):
        answers.append(await target.search(next(texts)))
        await asyncio.sleep(0.1)
    return unexpected(answers, _UNDERSTOOD)


@attack(
    "searches with deadlines of 2 to 40 ms, in turns, without a pause on four connections",
    "both breakers opened within a tenth of a second",
)
async def tight_deadlines(target: Target) -> list[str]:
    """What misses a caller's own short deadlines is not held against the shards."""
    ends_at = time.monotonic() + 4.0
    answers: list[Answer] = []

    async def ask(first: int) -> None:
        deadline_ms = 2 + first
        async with target.connect() as connection:
            while time.monotonic() < ends_at and not connection.is_closed:
                deadline_ms = 2 + (deadline_ms + 3) % 39
                query = "strin~2 retur~2 objec~2 functio~2"
                body = {"query": query, "deadline_ms": deadline_ms, "fields": False}
                answers.append(
                    await target.ask_on(connection, target.request("POST", _SEARCH, body), 5.0)
                )

    await asyncio.gather(*(ask(10 * number) for number in range(4)))
    return unexpected(answers, {*_UNDERSTOOD, 503, 504})


@attack(
    "queries that the parser finds hard (`/a/` 1,365 times, `()`, `''`, `a^2` and the like), "
    "without a pause on four connections",
    "107 ms of the gateway's loop for each query; every caller got 503",
)
async def hard_to_parse(target: Target) -> list[str]:
    """What a query costs to parse is bounded, and is not paid by the event loop."""
    parts = ("/a/", "()", "''", "a^2", "a^2 ", '"" ', "[]", "NOT ", "a:", "-(", "\\", "a~1 ")
    ends_at = time.monotonic() + 4.0
    answers: list[Answer] = []

    async def ask(first: int) -> None:
        number = first
        async with target.connect() as connection:
            while time.monotonic() < ends_at and not connection.is_closed:
                part = parts[number % 4 if number % 2 else number % len(parts)]
                body = {"query": (part * _MAX_CHARS)[: _MAX_CHARS // len(part) * len(part)]}
                raw = target.request("POST", _SEARCH, {**body, "deadline_ms": 300})
                answers.append(await target.ask_on(connection, raw, 5.0))
                number += 1

    await asyncio.gather(*map(ask, range(4)))
    # A caller of its own weight may be refused for overload, and may not find an answer in time.
    return unexpected(answers, {*_UNDERSTOOD, 503, 504})


@attack(
    "700 words of two letters with two edits each (`xx~2`), another text each time, twice a second",
    "14 s of a scorer's CPU for each query; half of the normal answers were gone and the shards' "
    "breakers opened",
)
async def fuzzy_flood(target: Target) -> list[str]:
    """What a query costs is estimated before it is sent."""

    def texts() -> Iterator[str]:
        letters = "abcdefghijklmnopqrstuvwxyz"
        while True:
            words = ("".join(target.rng.choices(letters, k=2)) + "~2" for _ in range(700))
            yield " ".join(words)
            yield " ".join(target.rng.choice(letters) + "*" for _ in range(1300))

    answers = []
    given = texts()
    for _ in range(10):
        answers.append(asyncio.create_task(target.search(next(given))))
        await asyncio.sleep(0.5)
    return unexpected(await asyncio.gather(*answers), {*_UNDERSTOOD, 504})


@attack(
    "searches that ask for 1,000 hits with all their fields, four at a time",
)
async def whole_documents(target: Target) -> list[str]:
    """A large answer is paid for by its caller, and not by others."""
    ends_at = time.monotonic() + 3.0
    answers: list[Answer] = []

    async def ask() -> None:
        while time.monotonic() < ends_at:
            answers.append(await target.search("return the value of a file", k=1000))

    await asyncio.gather(*(ask() for _ in range(4)))
    return unexpected(answers, {*_UNDERSTOOD, 503, 504})
