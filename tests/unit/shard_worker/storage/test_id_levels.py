"""The marks of documents say which ids are below which boundary."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.storage.id_levels import MARK, boundary_ranks, marks_of

IDS = st.text("ab019-/é\U0001f600", min_size=1, max_size=4)


@given(st.sets(IDS), st.sets(IDS))
def test_what_has_a_boundarys_mark_is_what_is_below_it(boundaries: set[str], ids: set[str]) -> None:
    """The mark of each boundary is on all documents with a lesser id, and on no others."""
    marks = {one: marks_of(one, sorted(boundaries)) for one in ids}
    for boundary in boundaries:
        below = {one for one in ids if one < boundary}
        assert {one for one in ids if f"{MARK}{boundary}" in marks[one]} == below
    assert all(MARK in found and len(found) == len(set(found)) for found in marks.values())


@given(st.integers(0, 10_000_000))
def test_each_boundary_reaches_almost_half_as_far_again_as_the_one_below(count: int) -> None:
    """From a few documents to most of them, some boundary reaches little farther than is wanted.

    A rank is that of an id, so it is below the number of documents.
    """
    ranks = boundary_ranks(count)
    assert ranks == sorted(set(ranks))
    assert not ranks or 2 <= ranks[0] <= 3
    assert all(rank < count for rank in ranks)
    for lower, higher in itertools.pairwise([*ranks, count]):
        assert higher <= math.ceil((lower + 1) * 2**0.5)
