"""One call of `enrich`, from JSON to JSON, within its bounds."""

import gc
import json
from typing import Any

import pytest

from hedgerow.common.wire.messages import FetchBody
from hedgerow.shard_worker.serving.enriching import Enriching, Stored
from hedgerow.shard_worker.storage.picking import pick_of

Document = dict[str, Any]


def body(number: int, size: int = 0) -> bytes:
    """A document as it is stored, `size` bytes larger than it need be."""
    return json.dumps({"number": number, "text": "x" * size}).encode()


def add(num_bytes: int) -> Any:
    """A hook that adds so much to each document."""
    return lambda documents: [{**one, "added": "y" * num_bytes} for one in documents]


def enriched(
    stored: list[Stored], hook: Any, *, fields: list[str] | None = None, **limits: int
) -> tuple[list[Any], str]:
    """The documents, decoded, and the problem."""
    bounds = {"max_given_bytes": 10_000, "max_bytes": 10_000, **limits}
    one = Enriching(FetchBody(stored, ""), pick_of(fields), **bounds)
    one.run(hook)
    documents = [json.loads(each) if isinstance(each, bytes) else each for each in one.documents]
    return documents, one.problem


def test_the_hook_sees_what_is_there() -> None:
    """Documents that are gone or were left out stay as they are; the wanted fields are taken."""
    seen: list[list[Document]] = []

    def hook(documents: list[Document]) -> list[Document]:
        seen.append(documents)
        return [{**one, "more": [one["number"]]} for one in documents]

    stored = [body(1), None, 123_456, body(2)]
    documents, problem = enriched(stored, hook, fields=["more", "number"])
    assert seen == [[{"number": 1, "text": ""}, {"number": 2, "text": ""}]]
    assert documents == [
        {"more": [1], "number": 1},
        None,
        123_456,
        {"more": [2], "number": 2},
    ]
    assert problem == ""


def test_a_hook_is_given_no_more_than_its_bound() -> None:
    """What is beyond is not decoded, keeps its stored fields, and is reported."""
    stored: list[Stored] = [body(1), body(2, 5000), body(3)]
    documents, problem = enriched(stored, add(3), max_given_bytes=200)
    assert [one.get("added") for one in documents] == ["yyy", None, "yyy"]
    assert problem == "1 not enriched: together they exceed limits.max_enrich_bytes"


def test_what_a_hook_returns_is_measured() -> None:
    """Documents that would make the reply too large keep their stored fields; it is reported."""
    stored: list[Stored] = [body(1), body(2), body(3)]
    room = sum(map(len, [body(1), body(2), body(3)]))
    documents, problem = enriched(stored, add(100), max_bytes=room + 250)
    assert [len(one.get("added", "")) for one in documents] == [100, 100, 0]
    assert problem == "1 not enriched: they grew beyond limits.max_fetch_bytes"


def test_before_the_hook_has_returned_there_are_the_stored_fields() -> None:
    """They are at hand when it is late or fails, and a late one does not change them."""
    one = Enriching(FetchBody([body(1), None], ""), pick_of(["number"]), 1000, 1000)
    before = one.documents
    assert before == [b'{"number":1}', None]
    one.run(add(9))
    assert before == [b'{"number":1}', None]


def test_the_collector_runs_again_afterwards() -> None:
    """It rests while documents are decoded, whether they can be or not."""
    assert gc.isenabled()
    with pytest.raises(ValueError, match=r"EOF|expected"):
        Enriching(FetchBody([b'{"a":'], ""), None, 1000, 1000).run(add(1))
    assert gc.isenabled()
