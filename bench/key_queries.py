"""The documents and queries of `bench.keys`: made-up words, some of them far more frequent."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from bench.harness.http_load import HttpGateway

COLLECTION: Final = "documents"
DEADLINE_MS: Final = 300.0
_NUM_DOCUMENTS = 20_000
_WORDS = [f"word{number}" for number in range(2_000)]
_RETRY_AFTER_S = 1.0  # the header has whole seconds, and queries take less
_PAUSE_S = 0.02  # of a closed-loop caller that was refused


class RefusedError(Exception):
    """The gateway has refused the search, or not answered it in full."""


class Asker:
    """Asks, with one key, for two words that many documents contain."""

    def __init__(
        self, url: str, key: str, profile: str, seed: int, come_from: str = "127.0.0.1"
    ) -> None:
        """Ask the gateway at `url`."""
        self._profile = profile
        self._gateway = HttpGateway(*address_of(url), 0, key, come_from)
        self._rng = random.Random(seed)
        self.close = self._gateway.close

    async def ask(self) -> None:
        """Search once.

        Raises:
            RefusedError: there is no answer, or it does not reflect every shard.
        """
        answer = await self._gateway.search(COLLECTION, body_of(self._rng, self._profile))
        if b'"is_full":true' not in answer:
            raise RefusedError(answer[:200].decode(errors="replace"))

    async def ask_patiently(self) -> None:
        """Search once, like `ask`, and pause after a refusal: a closed loop would spin."""
        try:
            await self.ask()
        except RefusedError:
            await asyncio.sleep(_PAUSE_S)
            raise

    async def ask_again_later(self) -> None:
        """Search once, like `ask`, and wait after a refusal as `Retry-After` says."""
        try:
            await self.ask()
        except RefusedError:
            await asyncio.sleep(_RETRY_AFTER_S * (0.5 + self._rng.random()))
            raise


def address_of(url: str) -> tuple[str, int]:
    """The host and the port of a gateway."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    return address.hostname, address.port


def body_of(rng: random.Random, profile: str) -> bytes:
    """The body of a search for two words."""
    text = " ".join(_word(rng) for _ in range(2))
    search = {"query": text, "deadline_ms": DEADLINE_MS, "rank_profile": profile}
    return json.dumps(search).encode()


async def documents() -> AsyncIterator[dict[str, str]]:
    """All documents, of thirty words each."""
    rng = random.Random(1)
    for number in range(_NUM_DOCUMENTS):
        yield {"id": str(number), "text": " ".join(_word(rng) for _ in range(30))}


def _word(rng: random.Random) -> str:
    """A word; the first words are far more frequent, as in a natural language."""
    return _WORDS[min(len(_WORDS) - 1, int(rng.paretovariate(0.7)) - 1)]
