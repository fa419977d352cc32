"""Seeded generators: every case comes from a seed, so that a failing one can be repeated.

`conversation.py` says what must come of what is sent, `../oracle.py` what an answer must be.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random

from tests.hostile.attack import Attack
from tests.hostile.generators import documents, files, messages, queries, requests
from tests.hostile.generators.conversation import Conversation, hold
from tests.hostile.oracle import Contract
from tests.hostile.target import Target

Make = Callable[[Random, Target], Conversation]

_SECONDS, _SECONDS_FULL = 2.5, 30.0
_AT_ONCE = 4
_MOST_COMPLAINTS = 5
_DEFINITION = {
    "title": "text",
    "tags": "keyword",
    "number": "integer",
    "price": "float",
    "new": "boolean",
    "day": "date",
}

MAKERS: dict[str, Make] = {
    "heads": requests.head,
    "bodies": requests.body,
    "chunks": requests.chunks,
    "pipelines": requests.pipeline,
    "queries": queries.conversation,
    "loads": documents.load,
    "ids": documents.by_id,
}
_SENDS = {
    "heads": "requests with odd methods, paths, versions, headers, line ends",
    "bodies": "bodies that are almost right, for each path that takes one",
    "chunks": "bodies in chunks, with right and wrong sizes, extensions and trailers",
    "pipelines": "up to 40 requests without a wait, cut at any place",
    "queries": "queries from a grammar",
    "loads": "NDJSON of any value in any field",
    "ids": "documents read and removed by any id",
    "mix": "all of these at once",
}


def mixed(rng: Random, target: Target) -> Conversation:
    """A conversation of any kind."""
    return MAKERS[rng.choice(sorted(MAKERS))](rng, target)


async def campaign(make: Make, target: Target) -> Sequence[str]:
    """Hold as many conversations as fit into some seconds; returns what is wrong, by case number.

    Which cases are held depends on the seed alone; how many, on the machine.
    """
    contract = Contract.read()
    base = target.rng.getrandbits(64)
    ends_at = time.monotonic() + (_SECONDS_FULL if target.is_full else _SECONDS)
    complaints: list[str] = []
    numbers = iter(range(10**9))

    async def hold_some() -> None:
        while time.monotonic() < ends_at and len(complaints) < _MOST_COMPLAINTS:
            number = next(numbers)
            said = make(Random(f"{base}:{number}"), target)
            if wrong := await hold(target, contract, said):
                complaints.append(f"case {number}: {wrong}; sent {said}")

    async with target.own_collection(requests.FUZZ, _DEFINITION):
        await asyncio.gather(*(hold_some() for _ in range(_AT_ONCE)))
    return complaints


def _generator(name: str, sends: str, run: Callable[[Target], Awaitable[Sequence[str]]]) -> Attack:
    return Attack(name=name, sends=sends, was="", run=run, is_reproduction=False, min_searches=60)


GENERATORS = (
    *(
        _generator(f"random-{name}", _SENDS[name], partial(campaign, make))
        for name, make in {**MAKERS, "mix": mixed}.items()
    ),
    _generator("random-files", "odd files and folders for `gateway index`", files.odd_files),
    _generator(
        "random-redis-messages",
        "malformed requests, replies, heartbeats and cancellations, written to the cluster's Redis",
        messages.redis_messages,
    ),
)
