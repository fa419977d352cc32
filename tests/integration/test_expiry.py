"""Documents that expire, in a real cluster."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.gateway import Gateway
from tests.support.clusters import all_live, ask, cluster_of_its_own, load_into
from tests.support.waiting import until

pytestmark = pytest.mark.integration


def at(seconds: float) -> str:
    """A date that is a number of seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def found(gateway: Gateway) -> set[str]:
    """Every document that a search finds."""
    result = await ask(gateway, "offers", "*", k=100, fields=False)
    assert result.coverage.fraction == 1.0
    return {hit.id for hit in result.hits}


async def test_documents_expire_at_their_date() -> None:
    """Those whose date passes go, by whichever gateway; others stay, and so do those without."""
    with cluster_of_its_own(num_shards=2, num_workers=1) as cluster:
        settings = cluster.settings
        brief = settings.gateway.model_copy(update={"expiry_interval_s": 0.3})
        settings = Settings.model_copy(settings, update={"gateway": brief})
        async with (
            Gateway.connect(settings, num_shards=2) as one,
            Gateway.connect(settings, num_shards=2) as other,
        ):
            await all_live(one)
            fields = {"title": "text", "ends_at": "date"}
            await one.collections.put("offers", {"fields": fields})
            rows: list[dict[str, Any]] = [
                {"id": "past", "ends_at": at(-3600)},
                {"id": "soon", "ends_at": at(3)},
                {"id": "later", "ends_at": at(3600)},
                {"id": "never"},
            ]
            await load_into(one, "offers", rows)
            assert await found(one) == {"past", "soon", "later", "never"}
            await other.expiry.set_field("offers", "ends_at")

            async def has_gone(document_id: str) -> bool:
                return document_id not in await found(one)

            await until(lambda: has_gone("past"))
            await until(lambda: has_gone("soon"))
            assert await found(one) == {"later", "never"}

            def numbers() -> list[int]:
                return sorted(gateway.counters["documents_expired"] for gateway in (one, other))

            await until(lambda: numbers() == [0, 2])
            await one.expiry.remove("offers")
            assert (await other.expiry.get("offers")).field is None
