"""Documents that expire: which are deleted, when, and by which gateway."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import BadRequestError, RedisUnavailableError, UnavailableError
from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.state.expiry import ExpiryStore
from hedgerow.gateway.shapes.answer import TotalHits
from hedgerow.gateway.shapes.delete_by_query import DeleteByQueryAnswer, DeleteByQueryBody
from hedgerow.gateway.shapes.expiry import ExpiryAnswer
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.expiry import Expiry, rfc3339
from tests.support.virtual_time import run_virtually

OFFERS = define("offers", {"fields": {"ends_at": "date", "title": "text"}}, "u")
START_MS = 1_800_000_000_000  # 2027-01-15T08:00:00Z
DONE = DeleteByQueryAnswer(TotalHits(3, "eq"), 3, True, None, [], False, [])


class Store:
    """Fields and a lease in memory, and Redis's clock."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.holder: str | None = None
        self.held_until = 0.0
        self.is_away = False

    async def all(self) -> dict[str, str]:
        """Every field."""
        return dict(self.fields)

    async def field_of(self, uid: str) -> str | None:
        """One field."""
        return self.fields.get(uid)

    async def set_field(self, uid: str, field: str) -> None:
        """Keep it."""
        self.fields[uid] = field

    async def remove(self, uid: str) -> None:
        """Forget it."""
        self.fields.pop(uid, None)

    async def hold_lease(self, gateway: str, hold_s: float) -> bool:
        """Give the lease to one gateway at a time."""
        if self.is_away:
            raise RedisUnavailableError("Redis does not answer")
        now = asyncio.get_running_loop().time()
        if self.holder not in (None, gateway) and now < self.held_until:
            return False
        self.holder, self.held_until = gateway, now + hold_s
        return True

    async def now_ms(self) -> int:
        """Redis's clock, which goes with the loop's."""
        return START_MS + int(asyncio.get_running_loop().time() * 1000)


class Known:
    """The collections that a gateway knows."""

    def __init__(self, *collections: Collection) -> None:
        self.collections = collections

    async def current(self, _name: str) -> Collection:
        """The first."""
        return self.collections[0]

    async def refresh(self) -> None:
        """Know the same."""

    def definitions(self) -> Iterable[Collection]:
        """All."""
        return self.collections

    def uids(self) -> list[str]:
        """Of all."""
        return [one.uid for one in self.collections]


class Deletions:
    """Keeps the queries by which documents were deleted, with the loop's time."""

    def __init__(self) -> None:
        self.made: list[tuple[float, str, str]] = []
        self.errors: list[Exception] = []

    async def __call__(self, name: str, body: DeleteByQueryBody) -> DeleteByQueryAnswer:
        """Delete three documents, or raise the next error."""
        self.made.append((asyncio.get_running_loop().time(), name, body.query))
        if self.errors:
            raise self.errors.pop(0)
        return DONE


def expiry(store: Store, deletions: Deletions, gateway: str = "g", **options: Any) -> Expiry:
    """One gateway's, every ten seconds by default."""
    return Expiry(
        cast("ExpiryStore", store),
        cast("Collections", options.get("known", Known(OFFERS))),
        deletions,
        options.get("counters", Counters()),
        gateway,
        options.get("interval_s", 10.0),
    )


async def run_for(seconds: float, *gateways: Expiry) -> None:
    """Let gateways run."""
    tasks = [asyncio.create_task(one.run()) for one in gateways]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def test_what_has_passed_is_deleted_by_the_clock_of_redis() -> None:
    """Each interval, documents whose date is before the present second of that clock."""
    store, deletions, counters = Store(), Deletions(), Counters()
    store.fields = {"u": "ends_at"}
    run_virtually(run_for(25, expiry(store, deletions, counters=counters)))
    assert [(name, query) for _, name, query in deletions.made] == [
        ("offers", "ends_at:<2027-01-15T08:00:10Z"),
        ("offers", "ends_at:<2027-01-15T08:00:20Z"),
    ]
    assert counters["documents_expired"] == 6
    assert rfc3339(START_MS + 999) == "2027-01-15T08:00:00Z"


def test_one_gateway_at_a_time_deletes() -> None:
    """Another takes over when the one with the lease has ended."""
    store = Store()
    store.fields = {"u": "ends_at"}
    first, second = Deletions(), Deletions()

    async def story() -> None:
        await run_for(25, expiry(store, first, "a"), expiry(store, second, "b"))
        assert (len(first.made), len(second.made)) == (2, 0)
        await run_for(65, expiry(store, second, "b"))

    run_virtually(story())
    assert len(first.made) == 2
    assert 3 <= len(second.made) <= 5


def test_nothing_is_done_without_fields_or_interval() -> None:
    """A collection that is gone is forgotten, one that others have is left alone."""
    store, deletions = Store(), Deletions()
    run_virtually(run_for(35, expiry(store, deletions)))
    store.fields = {"gone": "ends_at"}
    run_virtually(run_for(15, expiry(store, deletions)))
    assert store.fields == {}
    store.fields = {"u": "ends_at"}
    run_virtually(run_for(35, expiry(store, deletions, interval_s=0.0)))
    assert deletions.made == []


def test_failures_are_tried_again() -> None:
    """Neither Redis that is away nor a search that fails ends it."""
    store, deletions = Store(), Deletions()
    store.fields = {"u": "ends_at"}
    deletions.errors = [UnavailableError("no shard could be asked")]

    async def story() -> None:
        running = asyncio.create_task(run_for(45, expiry(store, deletions)))
        await asyncio.sleep(15)
        store.is_away = True
        await asyncio.sleep(10)
        store.is_away = False
        await running

    run_virtually(story())
    assert [at for at, *_ in deletions.made] == [10, 30, 40]


async def test_only_a_date_field_expires() -> None:
    """Another field, or none, is refused; setting, reading and removing are one and the same."""
    store = Store()
    one = expiry(store, Deletions())
    for field in ("title", "id", "nothing"):
        with pytest.raises(BadRequestError, match="not a date field"):
            await one.set_field("offers", field)
    assert await one.get("offers") == ExpiryAnswer(None)
    assert await one.set_field("offers", "ends_at") == ExpiryAnswer("ends_at")
    assert await one.get("offers") == ExpiryAnswer("ends_at")
    assert store.fields == {"u": "ends_at"}
    await one.remove("offers")
    assert await one.get("offers") == ExpiryAnswer(None)
