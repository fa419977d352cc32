"""A replica for which no write waited, since it was silent, is up to date before it answers."""

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from hedgerow.common.errors import InsufficientCoverageError, UnavailableError
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.gateway import Gateway
from tests.support.clusters import Cluster, ask, cluster_of_its_own, gateway_to, load, load_into
from tests.support.servers import DURABLE
from tests.support.waiting import until

pytestmark = pytest.mark.integration

COLLECTION = "letters"
NUM_DOCUMENTS = 400


@pytest.fixture
async def alive() -> AsyncIterator[tuple[Cluster, Gateway]]:
    """Two workers with a replica each of one shard."""
    with cluster_of_its_own(*DURABLE, num_shards=1, num_workers=2, num_replicas=2) as cluster:
        async with gateway_to(cluster) as gateway:
            await until(lambda: gateway._membership.num_live == [2])
            yield cluster, gateway


def letters(word: str) -> list[dict[str, str]]:
    """A version of every document, with a word that no other version has."""
    return [{"id": f"l{number}", "title": f"letter {word}"} for number in range(NUM_DOCUMENTS)]


async def test_a_worker_that_was_stopped_finds_what_was_written_meanwhile(
    alive: tuple[Cluster, Gateway],
) -> None:
    """As soon as it answers, and though no other replica could."""
    cluster, gateway = alive
    await load(gateway, COLLECTION, letters("old"))
    cluster.signal(0, signal.SIGSTOP)
    await until(lambda: gateway._membership.num_live == [1])
    await load_into(gateway, COLLECTION, letters("new"))
    cluster.kill(1)  # which the gateway does not know at once: its search waits in the queue
    first = asyncio.create_task(_search(gateway))
    await until(lambda: gateway._searcher.num_in_flight > 0)
    cluster.signal(0, signal.SIGCONT)
    answers = [await first]

    async def is_known() -> bool:
        answers.append(await _search(gateway))
        return answers.count(0) >= 20 or 1 in answers

    await until(is_known)
    assert set(answers) <= {None, 0}


async def _search(gateway: Gateway) -> int | None:
    """How many documents are still as they were; None if no shard answers."""
    try:
        result = await ask(gateway, COLLECTION, "old", k=1, deadline_ms=2000.0)
    except (InsufficientCoverageError, UnavailableError):
        return None
    return len(result.hits) if result.outcomes[Outcome.OK] else None
