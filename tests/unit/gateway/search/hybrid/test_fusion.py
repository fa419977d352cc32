"""The fusion of rankings."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.gateway.search.hybrid.fusion import Fusion, Scale
from hedgerow.gateway.search.result import Hit

IDS = st.sampled_from("abcdefgh")
SCORES = st.floats(-10, 10, width=32)


@st.composite
def rankings(draw: st.DrawFn) -> list[Hit]:
    """A leg's hits, best first, ties by id."""
    ids = draw(st.lists(IDS, unique=True))
    hits = [Hit(one, draw(SCORES), ord(one) % 4) for one in ids]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


SCALES = st.builds(Scale, st.sampled_from([None, 0.0, -1.0]), st.booleans())
FUSIONS = st.builds(
    Fusion,
    st.booleans(),
    st.integers(1, 100),
    st.fixed_dictionaries({"text": st.floats(0, 10), "vector": st.floats(0, 10)}),
    st.fixed_dictionaries({"text": SCALES, "vector": SCALES}),
    st.integers(1, 10),
)


def hits_of(*pairs: tuple[str, float]) -> list[Hit]:
    """Hits of shard 0."""
    return [Hit(one, score, 0) for one, score in pairs]


def test_by_rank_a_document_in_both_legs_has_the_sum_of_both_parts() -> None:
    """The parts are weight / (k + rank), with ranks from 1."""
    text, vector = hits_of(("a", 9), ("b", 5)), hits_of(("b", 0.9), ("c", 0.1))
    fused = Fusion(k=60, weights={"text": 1, "vector": 2}).fuse({"text": text, "vector": vector})
    assert [hit.id for hit in fused] == ["b", "c", "a"]
    scores = {hit.id: hit.score for hit in fused}
    assert scores == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 2 / 61, "c": 2 / 62})
    assert {leg: (one.rank, one.score) for leg, one in fused[0].legs.items()} == {
        "text": (2, 5),
        "vector": (1, 0.9),
    }


WORDS = Scale(0.0, is_zero_absent=True)
COSINES = Scale(-1.0)


def test_by_score_each_leg_counts_from_its_floor_to_its_best_hit() -> None:
    """What a leg has not found counts as its last hit, or as no match if that is all there is."""
    text = hits_of(("a", 30), ("b", 15), ("c", 6))
    vector = hits_of(("c", 0.6), ("d", 0.2))
    fusion = Fusion(True, 60, {"text": 1, "vector": 2}, {"text": WORDS, "vector": COSINES}, 100)
    scores = {hit.id: hit.score for hit in fusion.fuse({"text": text, "vector": vector})}
    assert scores == pytest.approx(
        {"a": 1 + 2 * 0.75, "b": 0.5 + 2 * 0.75, "c": 0.2 + 2 * 1, "d": 0 + 2 * 0.75}
    )
    full = fusion._replace(candidates=3)  # more documents may match as well as the last
    scores = {hit.id: hit.score for hit in full.fuse({"text": text, "vector": vector})}
    assert scores["d"] == pytest.approx(0.2 + 2 * 0.75)


def test_scores_without_a_floor_count_as_cosines_about_do() -> None:
    """The last hit counts as 0.85; scores that are all the same as 1."""
    fusion = Fusion(by_score=True, weights={"vector": 10})
    far = hits_of(("a", -2.0), ("b", -7.0), ("c", -12.0))
    assert [hit.score for hit in fusion.fuse({"vector": far})] == pytest.approx([10, 9.25, 8.5])
    same = hits_of(("a", 1.0), ("b", 1.0))
    assert [hit.score for hit in fusion.fuse({"vector": same})] == [10, 10]


def test_a_score_below_the_floor_moves_the_floor() -> None:
    """A ranking function may return anything; the parts stay between 0 and 1."""
    fusion = Fusion(by_score=True, scales={"text": WORDS})
    fused = fusion.fuse({"text": hits_of(("a", 1.0), ("b", -3.0))})
    assert [hit.score for hit in fused] == [1, 0]


@given(rankings(), rankings(), FUSIONS)
def test_each_document_of_any_leg_is_there_once(
    text: list[Hit], vector: list[Hit], fusion: Fusion
) -> None:
    """In descending order, ties by id, with finite scores and its places in the legs."""
    fused = fusion.fuse({"text": text, "vector": vector})
    assert {hit.id for hit in fused} == {hit.id for hit in [*text, *vector]}
    assert len(fused) == len({hit.id for hit in fused})
    assert fused == sorted(fused, key=lambda hit: (-hit.score, hit.id))
    assert all(math.isfinite(hit.score) for hit in fused)
    assert fusion.fuse({"text": text, "vector": vector}, 3) == fused[:3]
    for name, leg in (("text", text), ("vector", vector)):
        places = {hit.id: hit.legs[name].rank for hit in fused if name in hit.legs}
        assert places == {hit.id: rank for rank, hit in enumerate(leg, 1)}


@given(st.lists(rankings(), min_size=1, max_size=2), FUSIONS)
def test_one_leg_alone_keeps_its_order(legs: list[list[Hit]], fusion: Fusion) -> None:
    """If the other leg is left out, the answer is that of the first."""
    leg = legs[0]
    fused = fusion._replace(weights={}).fuse({"text": leg, "vector": []})
    if not fusion.by_score:
        assert [hit.id for hit in fused] == [hit.id for hit in leg]
    else:  # scores may be so close that they become one
        scores = {hit.id: hit.score for hit in leg}
        assert [scores[hit.id] for hit in fused] == pytest.approx([hit.score for hit in leg])


@given(rankings(), rankings(), st.floats(0.5, 100))
def test_by_rank_the_scale_of_the_scores_does_not_matter(
    text: list[Hit], vector: list[Hit], factor: float
) -> None:
    """Only the order of each leg does."""
    scaled = [Hit(hit.id, hit.score * factor, hit.shard) for hit in vector]
    order = [hit.id for hit in Fusion().fuse({"text": text, "vector": vector})]
    assert order == [hit.id for hit in Fusion().fuse({"text": text, "vector": scaled})]


@given(rankings(), rankings(), FUSIONS)
@settings(max_examples=50)
def test_a_better_place_in_a_leg_never_makes_the_fused_place_worse(
    text: list[Hit], vector: list[Hit], fusion: Fusion
) -> None:
    """Moving a hit to the top of a leg does not lower it in the fusion by rank."""
    if len(text) < 2:
        return
    fusion = fusion._replace(by_score=False)
    moved = text[-1]
    better = [moved, *text[:-1]]
    assert place(fusion, better, vector, moved.id) <= place(fusion, text, vector, moved.id)


def place(fusion: Fusion, text: Sequence[Hit], vector: Sequence[Hit], document: str) -> int:
    """Where a document is in the fused ranking."""
    fused = fusion.fuse({"text": text, "vector": vector})
    return [hit.id for hit in fused].index(document)
