"""The page is whole, and other work runs while it is written."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from hedgerow.common.metrics.exposition import TextFormat
from hedgerow.common.metrics.metric import Family, Kind, Metric, family
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.metrics.collector import GatewayCollector
from hedgerow.gateway.metrics.page import MetricsPage
from hedgerow.gateway.metrics.redis_facts import RedisFacts, RedisFactsReader

FLEAS = Metric("fleas", Kind.GAUGE, "Fleas", ("number",))
MANY = 100_000


class Members:
    """No workers."""

    workers: dict[str, Heartbeat] = {}  # noqa: RUF012 - it is never changed


class Collector:
    """Has that many series."""

    membership = Members()

    def __init__(self, num_series: int) -> None:
        self._num_series = num_series

    def server_ms(self) -> int:
        """The time."""
        return 0

    def families(self, facts: RedisFacts, keys: Sequence[Any]) -> Iterator[Family]:
        """One family, if Redis is up."""
        if facts.is_up:
            yield family(FLEAS, ((number, number) for number in range(self._num_series)))


class Reader:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.num_reads = 0
        self.may_answer = asyncio.Event()

    async def read(self, _beats: Iterable[Heartbeat], _now_ms: int) -> RedisFacts:
        """Count the reads."""
        self.num_reads += 1
        await self.may_answer.wait()
        return RedisFacts(is_up=True)


def page_of(reader: Reader, num_series: int) -> Callable[[], Any]:
    """Scrapes a page."""
    collector = cast("GatewayCollector", Collector(num_series))
    page = MetricsPage(collector, cast("RedisFactsReader", reader))
    return lambda: page.text(TextFormat.PROMETHEUS, [])


async def test_other_work_runs_while_a_large_page_is_written() -> None:
    """The loop turns many times before the page, of 100,000 series, is whole."""
    reader = Reader()
    reader.may_answer.set()
    writing = asyncio.ensure_future(page_of(reader, MANY)())
    num_turns = 0
    while not writing.done():
        await asyncio.sleep(0)
        num_turns += 1
    assert num_turns > 20
    lines = (await writing).decode().splitlines()  # Prometheus's own parser would take a second
    samples = [line.rpartition(" ")[2] for line in lines if not line.startswith("#")]
    assert list(map(float, samples)) == list(range(MANY))


async def test_scrapes_at_once_share_a_look_at_redis() -> None:
    """However many scrapes there are, Redis is asked for the first, and once for all others."""
    reader = Reader()
    scrape = page_of(reader, 10)
    scrapes = [asyncio.ensure_future(scrape()) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    scrapes += [asyncio.ensure_future(scrape()) for _ in range(5)]
    await asyncio.sleep(0)
    reader.may_answer.set()
    await asyncio.gather(*scrapes)
    assert reader.num_reads == 2
