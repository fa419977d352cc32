"""Embedding and hybrid searches through a real cluster."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import UNSET

from hedgerow.common.errors import BadRequestError, UnavailableError
from hedgerow.common.settings.embed import EmbedSettings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.shapes.hybrid import Hybrid
from hedgerow.gateway.shapes.vector import VectorQuery
from hedgerow.gateway.writes.document_body import stream_of
from tests.integration.support import hooks
from tests.support.clusters import Cluster, all_live, ask, cluster_of_its_own, ndjson
from tests.support.waiting import until

pytestmark = pytest.mark.integration

# The first search by a vector has its scorer import a library, on a machine that may be busy.
PATIENT_MS = 20_000.0

NUM_SHARDS = 2
FUNCTION = "tests.integration.support.hooks:letters"
VECTOR: dict[str, Any] = {"type": "vector", "dimensions": 8, "embed": FUNCTION, "from": ["text"]}
FIELDS: dict[str, Any] = {"text": "text", "v": VECTOR}
WORDS = ["bad", "cab", "dead", "fed", "head", "edge", "hedge", "beef"]
DOCUMENTS: list[dict[str, Any]] = [
    {"id": f"d{number}", "text": f"{WORDS[number % 8]} {WORDS[number // 8]}"}
    for number in range(64)
]


@asynccontextmanager
async def embedding_gateway(cluster: Cluster) -> AsyncIterator[Gateway]:
    """A gateway that may call the function."""
    settings = cluster.settings.model_copy(update={"embed": EmbedSettings(functions=[FUNCTION])})
    async with Gateway.connect(settings, num_shards=NUM_SHARDS) as gateway:
        await all_live(gateway)
        yield gateway


async def test_texts_are_embedded_when_they_are_indexed_and_asked_for() -> None:
    """Both legs rank all documents; a document that cannot be embedded is set aside alone."""
    environment = {"HEDGEROW_EMBED__FUNCTIONS": json.dumps([FUNCTION])}
    with cluster_of_its_own(num_shards=NUM_SHARDS, environment=environment) as cluster:
        async with embedding_gateway(cluster) as gateway:
            unknown = {**VECTOR, "embed": "os:system"}
            with pytest.raises(BadRequestError, match=r"embed\.functions"):
                await gateway.collections.put("others", {"fields": {**FIELDS, "v": unknown}})
            await gateway.collections.put("words", {"fields": FIELDS})
            bad = {"id": "bad", "text": "unreadable hedge"}
            await gateway.documents.load("words", ndjson([*DOCUMENTS, bad]), "logged")
            await until(lambda: _is_indexed(gateway))

            worse = [{"id": "worse", "text": "unreadable"}, {"id": "good", "text": "face"}]
            report = await gateway.documents.load("words", ndjson(worse), "applied")
            again = await gateway.documents.load("words", ndjson(worse[1:]), "applied")
            written = await gateway.conditional_writes.put(
                "words", "worst", stream_of(b'{"text": "unreadable"}'), "none"
            )
            await gateway.documents.delete("words", "good")
            near = await ask(
                gateway, "words", "hedge", deadline_ms=PATIENT_MS, vector=VectorQuery("v"), k=64
            )
            both = await ask(
                gateway, "words", "hedge", deadline_ms=PATIENT_MS, hybrid=Hybrid(), k=20
            )
            own = await ask(
                gateway, "words", "unreadable hedge", deadline_ms=PATIENT_MS, hybrid=Hybrid(), k=64
            )
            with pytest.raises(UnavailableError, match="no vector for this"):
                await ask(
                    gateway, "words", "unreadable", deadline_ms=PATIENT_MS, vector=VectorQuery("v")
                )
            dead = await ask(
                gateway, "words", "deadly hedge", deadline_ms=PATIENT_MS, hybrid=Hybrid(), k=64
            )
    (noted,) = report.answer().set_aside
    assert (noted.id, report.accepted, report.is_applied) == ("worse", 2, False)
    assert "no vector for this" in noted.reason
    assert (again.is_applied, again.answer().set_aside_total) == (True, 0)
    assert [one.id for one in written.set_aside] == ["worst"]
    assert written.answer().version is None
    near_by_hand = _scores("hedge")
    found = [near_by_hand[hit.id] for hit in near.hits]
    assert found == pytest.approx(sorted(near_by_hand.values(), reverse=True), abs=1e-5)
    assert both.legs is not UNSET
    assert list(both.legs) == ["text", "vector"]
    assert both.coverage.is_full
    assert all(hit.fields == _document(hit.id) for hit in both.hits)
    assert {"text", "vector"} == set(both.hits[0].legs or ())
    for answer, reason in ((own, "no vector for this"), (dead, "status 3")):
        assert answer.legs is not UNSET
        assert reason in str(answer.legs["vector"].left_out)
        texts = [_document(hit.id)["text"] for hit in answer.hits]
        assert all("hedge" in text or "dead" in text for text in texts)  # the stem of "deadly"


def _is_indexed(gateway: Gateway) -> bool:
    """Whether all documents but the bad one can be found, and that one is set aside."""
    workers = gateway._membership.workers.values()
    is_aside = any(one.set_aside.get("bytes") for one in workers)
    uid = gateway.collections.get("words").uid
    return is_aside and sum(filter(None, gateway._membership.counts_of(uid))) == len(DOCUMENTS)


def _document(document_id: str) -> dict[str, Any]:
    return DOCUMENTS[int(document_id[1:])]


def _scores(text: str) -> dict[str, float]:
    """The cosine of each document's vector and that of a text."""
    (wanted,) = hooks.letters([text])

    def score(document: dict[str, Any]) -> float:
        (vector,) = hooks.letters([document["text"]])
        product = sum(a * b for a, b in zip(wanted, vector, strict=True))
        return float(product / math.hypot(*vector) / math.hypot(*wanted))

    return {one["id"]: score(one) for one in DOCUMENTS}
