"""The answer to a search as bytes."""

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.outcome import Outcome
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.shapes.answer import Fetch, FetchProblem
from hedgerow.gateway.views.json_bytes import encode_shape
from tests.support.sample_results import make_result

# As docs/http-search.md describes it, in its order.
ANSWER = (
    '{"hits":[{"id":"184","score":12.31,"shard":3,"fields":{"title":"é \\"q\\"","n":[1,null]}},'
    '{"id":"29","score":11.0,"shard":1,"fields":null}],'
    '"total_hits":{"value":812,"relation":"gte"},'
    '"coverage":{"fraction":0.875,"documents":19600,"documents_total":22400,"is_full":false,'
    '"degraded":{"timed_out":1}},'
    '"shards":{"total":8,"ok":7,"timed_out":1,"failed":0,"unavailable":0,"breaker_open":0,'
    '"cancelled":0,"skipped":0,"detail":[{"shard":5,"outcome":"timed_out","reason":"no reply",'
    '"worker":"","lane":"","queue_us":0,"lane_us":0,"work_us":0,"took_us":300120,'
    '"breaker":"closed","hedged_us":0,"is_hedge":false}]},'
    '"fetch":{"fetched":1,"missing":1,"left_out":0,"problems":[{"shard":1,"reason":"late"}]},'
    '"warnings":["a quote was closed"],"took_ms":300.457,"deadline_ms":300,"trace_id":null}'
)
# A value with more leaves is drawn again, as most are where lists are longer.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=9,
)


def test_the_answer_is_written_out_to_the_byte() -> None:
    """Every member stands where docs/http-search.md has it, without spaces, as UTF-8."""
    result = make_result(
        hits=[Hit("184", 12.31, 3, {"title": 'é "q"', "n": [1, None]}), Hit("29", 11.0, 1)],
        fetch=Fetch(1, 1, 0, [FetchProblem(1, "late")]),
        warnings=("a quote was closed",),
        took_ms=300.45678,
    )
    assert encode_shape(result.answer()).decode() == ANSWER
    assert result.to_json() == json.loads(ANSWER)


def test_outcomes_that_did_not_happen_are_named() -> None:
    """Each outcome has its count in the order of the enum, 0 where the result lacks it."""
    shards = make_result(outcomes={Outcome.FAILED: 2, Outcome.OK: 1}).to_json()["shards"]
    assert list(shards.items())[:-1] == [
        ("total", 3),
        *((outcome.value, {"ok": 1, "failed": 2}.get(outcome.value, 0)) for outcome in Outcome),
    ]


@settings(max_examples=40)
@given(st.dictionaries(st.text(), json_values), st.floats())
def test_whatever_a_document_holds_is_answered(fields: dict[str, Any], score: float) -> None:
    """A reader of the bytes gets the values, with null for what JSON has no number for."""
    result = make_result(hits=[Hit("1", score, 0, fields)])
    expected = json.loads(json.dumps(result.to_json()), parse_constant=lambda _: None)
    assert json.loads(encode_shape(result.answer())) == expected
    assert result.to_json()["hits"][0]["score"] == score or math.isnan(score)
