"""Writes on a condition and merges, through two gateways and real workers."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import AsyncMock
from unittest.mock import patch as replaced

import msgspec
import pytest

from hedgerow.common.errors import (
    BadRequestError,
    HedgerowError,
    NotFoundError,
    UnavailableError,
    VersionMismatchError,
)
from hedgerow.common.shard_log.document_version import ABSENT, version_of
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.shapes.collection import Wait
from hedgerow.gateway.writes.condition import NONE
from hedgerow.gateway.writes.merge_patch import merge_patch
from tests.support.clusters import Cluster, ask, cluster_of_its_own, gateway_to
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SOME = "A" * 16  # a version that no document here has
FIELDS = {"title": "text", "n": "integer"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers, each with both shards."""
    with cluster_of_its_own(num_shards=2, num_replicas=2) as cluster:
        yield cluster


@pytest.fixture
async def gateways(cluster: Cluster) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways to it, and a new collection `things`."""
    async with gateway_to(cluster) as one, gateway_to(cluster) as other:
        await one.collections.put("things", {"fields": FIELDS})
        await until(lambda: len(one._membership.workers) == 2)
        yield one, other
        await one.collections.drop("things")


async def body(document: dict[str, Any]) -> AsyncIterator[bytes]:
    """A document as the body of a request."""
    yield msgspec.json.encode(document)


async def put(
    gateway: Gateway,
    document_id: str,
    document: dict[str, Any],
    if_version: str,
    wait: Wait = "applied",
    request_id: str | None = None,
) -> str:
    """Put a document on a condition; returns its version."""
    report = await gateway.conditional_writes.put(
        "things", document_id, body(document), if_version, wait, request_id=request_id
    )
    assert report.version is not None
    return report.version


async def patch(gateway: Gateway, document_id: str, changes: dict[str, Any], **options: Any) -> str:
    """Merge changes into a document; returns its version."""
    raw = msgspec.json.encode(changes)
    report = await gateway.conditional_writes.patch("things", document_id, raw, **options)
    assert report.version is not None
    return report.version


async def read(gateway: Gateway, document_id: str) -> tuple[dict[str, Any] | None, str]:
    """A document and its version."""
    try:
        stored = await gateway.reader.stored("things", document_id, 5000)
    except NotFoundError:
        return None, ABSENT
    stored.lease.release()
    return msgspec.json.decode(stored.body), version_of(stored.body)


async def test_a_version_is_what_reads_and_writes_return(
    gateways: tuple[Gateway, Gateway],
) -> None:
    """A put, a patch and a read return the same version; it changes with the content."""
    one, other = gateways
    report = await one.documents.put("things", "a/b", body({"n": 1}))
    first = await read(other, "a/b")
    assert first == ({"id": "a/b", "n": 1}, report.version)
    second = await put(other, "a/b", {"n": 2}, first[1])
    assert second != first[1]
    assert await read(one, "a/b") == ({"id": "a/b", "n": 2}, second)
    third = await patch(one, "a/b", {"title": "lamp", "n": None})
    assert await read(other, "a/b") == ({"id": "a/b", "title": "lamp"}, third)
    assert [hit.id for hit in (await ask(one, "things", "lamp")).hits] == ["a/b"]
    # What had the content before has the version before.
    assert await put(one, "a/b", {"n": 2}, third) == second


async def test_another_version_refuses_a_write(gateways: tuple[Gateway, Gateway]) -> None:
    """Nothing is written, and the error has the version that the document has."""
    one, other = gateways
    version = await put(one, "x", {"n": 1}, NONE)
    for write in (
        put(other, "x", {"n": 2}, NONE),
        put(other, "x", {"n": 2}, SOME),
        patch(other, "x", {"n": 2}, if_version=SOME),
        one.conditional_writes.delete("things", "x", SOME),
    ):
        with pytest.raises(VersionMismatchError) as refused:
            await write
        assert refused.value.version == version
    for write in (
        put(other, "y", {"n": 2}, SOME),
        patch(other, "y", {"n": 2}, if_version=SOME),
        one.conditional_writes.delete("things", "y", SOME),
    ):
        with pytest.raises(VersionMismatchError, match="there is no document 'y'") as refused:
            await write
        assert refused.value.version is None
    assert await read(one, "x") == ({"id": "x", "n": 1}, version)
    assert await read(one, "y") == (None, ABSENT)
    await other.conditional_writes.delete("things", "x", version)
    assert await read(one, "x") == (None, ABSENT)


async def test_bad_requests_write_nothing(gateways: tuple[Gateway, Gateway]) -> None:
    """They name the field; a patch of a document that is not there is a 404."""
    one, _ = gateways
    version = await put(one, "x", {"n": 1}, NONE)
    for write in (
        put(one, "x", {"n": 2}, "not a version"),
        put(one, "x", {"n": "two"}, version),
        put(one, "x", {"id": "y"}, version),
        put(one, "x", {"n": 2}, version, request_id=""),
        patch(one, "x", {"n": "two"}),
        patch(one, "x", {"id": "y"}),
        patch(one, "x", {"n": 2}, if_version=NONE),
        one.conditional_writes.delete("things", "x", NONE),
        one.conditional_writes.patch("things", "x", b"[1]"),
    ):
        with pytest.raises(BadRequestError):
            await write
    with pytest.raises(NotFoundError, match="no document 'y'"):
        await patch(one, "y", {"n": 2})
    with pytest.raises(NotFoundError, match="no collection"):
        await one.conditional_writes.patch("nothing", "y", b"{}")
    assert await read(one, "x") == ({"id": "x", "n": 1}, version)


KINDS = ("put", "put_if", "patch", "patch_if", "delete_if")
NOT_OF_NOTHING = {"patch_if", "delete_if"}


async def do(
    gateway: Gateway, kind: str, one: str, changes: dict[str, Any], expected: str, wait: Wait
) -> None:
    """Write once, in one of the ways."""
    match kind:
        case "put":
            await gateway.documents.put("things", one, body(changes), wait)
        case "put_if":
            await put(gateway, one, changes, expected, wait)
        case "patch":
            await patch(gateway, one, changes, wait=wait)
        case "patch_if":
            await patch(gateway, one, changes, wait=wait, if_version=expected)
        case _:
            await gateway.conditional_writes.delete("things", one, expected, wait)


def after(
    kind: str, one: str, before: dict[str, Any] | None, changes: dict[str, Any]
) -> dict[str, Any] | None:
    """What a write that is done makes of a document."""
    if kind == "delete_if":
        return None
    return merge_patch(before, changes) if "patch" in kind else {"id": one, **changes}


async def test_writes_of_two_gateways_are_like_a_dictionary(
    gateways: tuple[Gateway, Gateway],
) -> None:
    """Any sequence of writes of all kinds, through either gateway, does what a dictionary does."""
    draw = random.Random(7)
    model: dict[str, dict[str, Any] | None] = {}
    num_refused = 0
    for step in range(100):
        gateway, one, kind = draw.choice(gateways), draw.choice("abcd"), draw.choice(KINDS)
        wait: Wait = draw.choice(["logged", "applied"])
        before = model.get(one)
        present = ABSENT if before is None else version_of(msgspec.json.encode(before))
        expected = draw.choice([present, present, SOME, NONE]) or NONE
        if (kind == "patch" and before is None) or (kind in NOT_OF_NOTHING and expected == NONE):
            continue  # refused for another reason
        changes: dict[str, Any] = draw.choice([{"n": step}, {"n": None}, {"title": "x"}])
        write = do(gateway, kind, one, changes, expected, wait)
        if kind in {"put", "patch"} or expected == (present or NONE):
            await write
            model[one] = after(kind, one, before, changes)
        else:
            num_refused += 1
            with pytest.raises(VersionMismatchError) as refused:
                await write
            assert refused.value.version == (present or None)
    assert num_refused > 10
    await gateways[0].documents.load("things", body({"id": "last"}))
    for one in "abcd":
        for gateway in gateways:
            assert (await read(gateway, one))[0] == model.get(one)


async def test_no_increment_is_lost(gateways: tuple[Gateway, Gateway]) -> None:
    """Many writers count one number up, through both gateways: each success counts once."""
    await put(gateways[0], "counter", {"n": 0}, NONE)

    async def increment(gateway: Gateway) -> None:
        while True:
            document, version = await read(gateway, "counter")
            assert document is not None
            try:
                await put(gateway, "counter", {"n": document["n"] + 1}, version, "logged")
            except VersionMismatchError:
                await asyncio.sleep(0.01)
            else:
                return

    await asyncio.gather(*(increment(gateways[number % 2]) for number in range(12)))
    await gateways[0].documents.load("things", body({"id": "last"}))  # on every replica
    document, _ = await read(gateways[0], "counter")
    assert document is not None
    assert document["n"] == 12


async def test_merges_at_the_same_time_all_count(gateways: tuple[Gateway, Gateway]) -> None:
    """Patches of different members through both gateways at once are all in the document."""
    await put(gateways[0], "m", {"title": "all"}, NONE)
    await asyncio.gather(
        *(patch(gateways[number % 2], "m", {f"member{number}": number}) for number in range(12))
    )
    document, _ = await read(gateways[1], "m")
    assert document == {
        "id": "m",
        "title": "all",
        **{f"member{number}": number for number in range(12)},
    }


async def test_a_repeated_request_is_done_once(gateways: tuple[Gateway, Gateway]) -> None:
    """With its id, it gets its first answer, whatever others wrote in between; so does a refusal.

    That holds too if Redis has forgotten the answer, since the workers remember it.
    """
    one, other = gateways
    first = await put(one, "r", {"n": 1}, NONE, request_id="create")
    second = await put(other, "r", {"n": 2}, first)
    assert await put(other, "r", {"n": 1}, NONE, request_id="create") == first
    with pytest.raises(VersionMismatchError):  # another body is another request
        await put(other, "r", {"n": 5}, NONE, request_id="create")
    third = await patch(one, "r", {"n": 3}, request_id="patch")
    fourth = await patch(other, "r", {"n": 4})
    assert await patch(other, "r", {"n": 3}, request_id="patch") == third
    assert (await read(one, "r"))[1] == fourth
    control, keys = one._control, one._keys
    pattern = keys.judgement(0, "*").replace(":0:", ":*:")
    for key in await control.execute("KEYS", pattern):
        await control.execute("DEL", key)
    assert await put(one, "r", {"n": 1}, NONE, request_id="create") == first
    assert await patch(one, "r", {"n": 3}, request_id="patch") == third
    assert await read(other, "r") == ({"id": "r", "n": 4}, fourth)
    assert second not in (first, third, fourth)


async def test_a_collection_that_goes_takes_its_writes_with_it(
    gateways: tuple[Gateway, Gateway],
) -> None:
    """A write whose collection is removed before its turn is a 404, and is never done."""
    one, _ = gateways
    gone = await one.collections.put("gone", {"fields": FIELDS})
    await one.collections.drop("gone")
    # As if it had been read just before.
    with (
        replaced.object(one.collections._registry, "collection", AsyncMock(return_value=gone)),
        pytest.raises(NotFoundError, match="was removed meanwhile"),
    ):
        await one.conditional_writes.put("gone", "x", body({"n": 1}), NONE)


async def test_workers_that_die_in_between_judge_once() -> None:
    """While replicas are killed and started again, each increment that succeeds counts once.

    One whose outcome is unknown counts at most once, and a repeated one that has an id once.
    """
    with cluster_of_its_own(num_shards=1, num_replicas=2) as cluster:
        async with gateway_to(cluster) as one, gateway_to(cluster) as other:
            await one.collections.put("things", {"fields": FIELDS})
            await until(lambda: len(one._membership.workers) == 2)
            await put(one, "counter", {"n": 0}, NONE)
            is_over = False
            num_done = num_unknown = 0

            async def increment(gateway: Gateway, writer: int) -> None:
                nonlocal num_done, num_unknown
                number = 0
                while not is_over:
                    number += 1
                    try:
                        document, version = await read(gateway, "counter")
                        assert document is not None
                        count = document["n"] + 1
                    except HedgerowError:
                        await asyncio.sleep(0.05)
                        continue
                    for attempt in range(3):
                        try:
                            await put(
                                gateway,
                                "counter",
                                {"n": count, "by": f"{writer}-{number}"},
                                version,
                                "logged",
                                request_id=f"{writer}-{number}",
                            )
                        except VersionMismatchError:
                            break
                        except UnavailableError:
                            num_unknown += attempt == 2
                            await asyncio.sleep(0.1)
                        else:
                            num_done += 1
                            break

            writers = [
                asyncio.create_task(increment(gateway, number))
                for number, gateway in enumerate((one, other, one, other))
            ]
            for worker in (0, 1, 0):
                await until(lambda done=num_done: num_done > done + 5)  # type: ignore[misc]
                await asyncio.to_thread(cluster.kill, worker)
                await asyncio.sleep(0.2)
                cluster.start(worker)
                await until(lambda: len(one._membership.workers) == 2)
            is_over = True
            await asyncio.gather(*writers)
            await one.documents.load("things", body({"id": "last"}))
            document, _ = await read(one, "counter")
            assert document is not None
            assert num_done <= document["n"] <= num_done + num_unknown
            assert num_done > 15
