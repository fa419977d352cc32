"""Which documents the replies to a search bring along, and what becomes of them."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES, RankProfile
from hedgerow.common.wire.messages import Attach, SearchBody
from hedgerow.gateway.search.documents.attaching import AttachPolicy, num_wanted, take_attached
from hedgerow.gateway.search.result import Hit, SearchQuery

PROFILES = {
    **BUILT_IN_PROFILES,
    "ranked": RankProfile(second_phase="my:score"),
    "first": RankProfile(first_phase="noop", second_phase="my:score"),
    "enriched": RankProfile(enrich="my:enrich"),
}


def policy(max_bytes: int = 1000, *, is_understood: bool = True) -> AttachPolicy:
    """A policy for a cluster of new workers, unless the test says otherwise."""
    return AttachPolicy(PROFILES, max_bytes, lambda: is_understood)


def query(k: int = 10, fields: tuple[str, ...] | bool = True) -> SearchQuery:
    """A search."""
    return SearchQuery("things", "x", k=k, fields=fields)


def chance_of_more(num: int, k: int, num_shards: int) -> Fraction:
    """Exactly, the chance that a given shard has more than `num` of `k` winners."""
    ways = sum(comb(k, have) * (num_shards - 1) ** (k - have) for have in range(num + 1, k + 1))
    return Fraction(ways, num_shards**k)


@given(st.integers(1, 150), st.integers(1, 40))
def test_no_shard_is_asked_for_more_than_it_takes(k: int, num_shards: int) -> None:
    """The least number of documents with which at most 2 % of searches need a fetch."""
    num = num_wanted(k, num_shards)
    assert 1 <= num <= k
    assert num_shards * chance_of_more(num, k, num_shards) <= 0.02
    assert num == 1 or num_shards * chance_of_more(num - 1, k, num_shards) > 0.02


@pytest.mark.parametrize(("k", "num_shards", "num"), [(10, 1, 10), (10, 2, 9), (1, 2, 1)])
def test_a_shard_alone_sends_all(k: int, num_shards: int, num: int) -> None:
    """One shard has all winners; of two, each sends nearly as many."""
    assert num_wanted(k, num_shards) == num


def test_the_bytes_are_shared_among_the_shards() -> None:
    """The limit is on all replies together; the fields are those that the query wants."""
    assert policy().wish(query(), "bm25", 4) == Attach(num_wanted(10, 4), 250, None, k=10)
    assert policy().wish(query(fields=("b", "a")), "ranked", 1) == Attach(10, 1000, ["b", "a"])


@pytest.mark.parametrize(
    ("search", "num_shards"),
    [
        (query(), 1),
        (replace(query(), sort=({"year": "asc"},)), 4),
        (replace(query(), group_by="year"), 4),
    ],
    ids=["one shard", "sorted", "grouped"],
)
def test_shards_do_not_compare_what_is_not_merged_by_score(
    search: SearchQuery, num_shards: int
) -> None:
    """Each sends the documents of its own first hits, as for a gateway that does not send `k`."""
    wish = policy().wish(search, "bm25", num_shards)
    assert wish is not None
    assert wish.k == 0


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (policy().wish(query(fields=False), "bm25", 1), "no fields are wanted"),
        (policy().wish(query(), "enriched", 1), "enrich runs in the fetch"),
        (policy().wish(query(), "noop", 1), "noop is answered without documents"),
        (policy().wish(query(), "bm25", 0), "no shard is asked"),
        (policy(0).wish(query(), "bm25", 1), "it is switched off"),
        (policy(3).wish(query(), "bm25", 4), "a shard's share is nothing"),
        (policy(is_understood=False).wish(query(), "bm25", 1), "a worker is old"),
        (policy().wish(query(k=1), "bm25", 12), "many shards for few hits"),
    ],
)
def test_nothing_is_asked_for(wish: Attach | None, reason: str) -> None:
    """No documents are asked for if that could not be answered, or would cost more than a fetch."""
    assert wish is None, reason


def test_a_noop_with_a_second_phase_reads_documents_anyway() -> None:
    """It runs in a scorer, which has the store open."""
    assert policy().wish(query(), "first", 1) is not None


def test_documents_go_to_the_hits_of_their_shard() -> None:
    """By shard and id; a hit beyond the attached ones, or of a shard without, has none."""
    hits = [Hit("a", 3.0, 0), Hit("a", 2.0, 1), Hit("b", 1.0, 0), Hit("a", 0.5, 2)]
    bodies = [
        (0, SearchBody(9, 2, True, ["a", "b"], [3.0, 1.0], attached=[b'{"of":0}'])),
        (1, SearchBody(9, 1, True, ["a"], [2.0], attached=[b'{"of":1}'])),
        (2, SearchBody(9, 1, True, ["a"], [0.5])),
    ]
    assert take_attached(hits, bodies) is None, "two have none"
    assert [hit.fields for hit in hits] == [{"of": 0}, {"of": 1}, None, None]


def test_the_bytes_are_known_if_every_hit_has_its_document() -> None:
    """They are those of the winners alone, not of all that was attached."""
    attached = [b'{"of":0}', b'{"of":"more"}']
    bodies = [(0, SearchBody(9, 2, True, ["a", "b"], [3.0, 1.0], attached=attached))]
    assert take_attached([Hit("a", 3.0, 0)], bodies) == len(attached[0])
    assert take_attached([Hit("a", 3.0, 0), Hit("b", 1.0, 0)], bodies) == sum(map(len, attached))
    assert take_attached([Hit("c", 1.0, 0)], bodies) is None
