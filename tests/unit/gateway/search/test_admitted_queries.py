"""What the gateway lets in, the scorer can search for, and at no more than the cost estimated."""

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import tantivy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.wire.messages import SearchPayload, pack_body, unpack_search_body
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.validation import Admitted, admit
from hedgerow.shard_worker.scoring.scorer import Scorer, ScorerConfig, make_scorer
from tests.unit.support.shards import EndlessBudget, OneShard

FIELDS = {
    "title": "text",
    "body": "text",
    "tag": "keyword",
    "year": "integer",
    "price": "float",
    "new": "boolean",
    "day": "date",
    "a.b": "keyword",
}
COLLECTION = define("c", {"fields": FIELDS}, uid="u1")
DOCUMENTS = [
    {
        "id": f"d{number}",
        "title": f"w{number % 7} high-speed it's",
        "body": "the quick brown fox " * (number % 4),
        "tag": ["", "*", "a b", "\\", "TO", "x"][number % 6],
        "year": number - 20,
        "price": number / 4,
        "new": number % 2 == 0,
        "day": f"2020-02-{number % 28 + 1:02d}",
        "a.b": [f"k{number}", "]"],
    }
    for number in range(40)
]

atoms = st.one_of(
    st.sampled_from(
        [
            "a",
            "w1",
            "the",
            "quick",
            "fox",
            "x*",
            "*",
            "a~1",
            "ab~2",
            "a_b~1",
            "1",
            "-5",
            "1e3",
            "9223372036854775807",
            "99999999999999999999",
            "1e999",
            "nan",
            "true",
            "2020-02-30",
            "2020-02-02",
            "1678-01-01",
            "2261-12-31T23:59:59.999999999Z",
            "0001-01-01",
            "\\",
            "\\*",
            "\\\\",
            "TO",
            "IN",
            "AND",
            "NOT",
            "''",
            '""',
            "it's",
            "a/b",
            "/a/",
            "/",
            "é",
            "中文",
            "\u202e",
            "\0",
            "\x1f",
            "\ufdd0",
            "\U0001f600",
            "a" * 70,
            "a" * 300 + "~2",
            "`",
        ]
    ),
    st.text(st.characters(codec="utf-8"), max_size=4),
)
phrases = st.lists(atoms, max_size=4).map(lambda parts: '"' + " ".join(parts) + '"')
loose = st.tuples(phrases, st.sampled_from(["", "~1", "~30", "~99999999999", "*"])).map("".join)
names = st.sampled_from([*FIELDS, "id", "nope", "_text", "_present"])
operands = st.sampled_from(["<", "<=", ">", ">=", ""])
ranges = st.tuples(st.sampled_from("[{"), atoms, atoms, st.sampled_from("]}")).map(
    lambda drawn: f"{drawn[0]}{drawn[1]} TO {drawn[2]}{drawn[3]}"
)
sets = st.lists(st.one_of(atoms, phrases), max_size=40).map(lambda some: f"IN [{' '.join(some)}]")
values = st.one_of(st.tuples(operands, atoms).map("".join), loose, ranges, sets)
fields = st.tuples(names, values).map(":".join)
leaves = st.one_of(atoms, loose, fields, fields)
queries = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda some: f"({' '.join(some)})"),
        st.tuples(st.sampled_from(["+", "-", "NOT ", "title:", "tag:"]), inner).map("".join),
        st.tuples(inner, st.sampled_from([" AND ", " OR ", " ", ""]), inner).map("".join),
        st.tuples(inner, st.sampled_from(["^2", "^0", "^1e30", "^-1", "^", "~2", "*"])).map(
            "".join
        ),
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    """A scorer over one shard with documents of every type."""
    shard = OneShard.of(tmp_path_factory.mktemp("fuzz"), FIELDS, DOCUMENTS)
    made = make_scorer(ScorerConfig(str(shard.data), dict(BUILT_IN_PROFILES)))
    yield made
    made.close()


def admitted(query: SearchQuery) -> Admitted | None:
    """A search as the gateway admits it; None where it refuses."""
    try:
        return admit(query, COLLECTION, QuerySettings(), BUILT_IN_PROFILES)
    except BadRequestError:
        return None


class CountingQueries:
    """tantivy's queries, counted by kind as they are made."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        make = getattr(tantivy.Query, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.made[name] += options.get("distance", 1) or 1
            return make(*args, **options)

        return counted


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(query=queries, filter_text=st.one_of(st.just(""), queries), strict=st.booleans())
@example(query="id:<\\", filter_text="", strict=False)
@example(query="id:<\\", filter_text="", strict=True)
@example(query="tag:[\\ TO \\*]", filter_text="a.b:{] TO *]", strict=False)
@example(query="year:9223372036854775807", filter_text="year:<-9223372036854775808", strict=True)
@example(query="w1", filter_text='tag:IN ["" "*" "\\\\"]', strict=True)
@example(query='"fox the"~99999999999', filter_text="", strict=False)
@example(query="w1", filter_text="w1 AND w1", strict=False)
@example(query="-5", filter_text="", strict=True)
@example(query="fox^1e30", filter_text="", strict=False)
@example(query='"w1 a w1"*', filter_text="", strict=False)
@example(query='"quick fox"~1', filter_text="", strict=True)
@example(query="¼ ﷺ", filter_text="", strict=False)
@example(query=".~^-1", filter_text="", strict=False)
@example(query="the -w1", filter_text="", strict=True)
@example(query="_ -1", filter_text="", strict=True)
def test_what_the_gateway_lets_in_is_searched_at_the_cost_estimated(
    scorer: Scorer, query: str, filter_text: str, *, strict: bool
) -> None:
    """No admitted query fails in the scorer, and it makes no more of each kind than was counted."""
    search = SearchQuery(
        collection="c", query=query, filter=filter_text, syntax="strict" if strict else "lenient"
    )
    let_in = admitted(search)
    if let_in is None:
        return
    payload = SearchPayload("u1", query, 10, "bm25", filter_text, strict)
    counting = CountingQueries()
    module = SimpleNamespace(Query=counting, Occur=tantivy.Occur, FieldType=tantivy.FieldType)
    with (
        patch("hedgerow.shard_worker.scoring.query_builder.tantivy", module),
        patch("hedgerow.shard_worker.scoring.value_queries.tantivy", module),
    ):
        body = unpack_search_body(scorer((0, 0, pack_body(payload)), EndlessBudget()))
    assert body.documents == len(DOCUMENTS)
    cost, made = let_in.cost, counting.made
    assert made["phrase_prefix_query"] <= cost.prefix_terms
    assert made["fuzzy_term_query"] <= cost.fuzzy_edits + cost.prefix_terms + cost.scans
    assert made["range_query"] + made["exists_query"] <= cost.scans
    assert made["term_query"] + made["term_set_query"] <= cost.clauses + cost.scans
    assert made["phrase_query"] <= cost.clauses
