"""Candidates of a hybrid search, for the second phase."""

from hedgerow.common.wire.search_options import Candidate
from hedgerow.shard_worker.scoring.fused_candidates import add_leg_scores, candidates_of

CANDIDATES = (
    Candidate(1, "a", 0.9, (3.0, 0.5)),
    Candidate(0, "b", 0.8, (None, 0.4)),
    Candidate(1, "c", 0.7, (2.0, None)),
)


def test_a_shard_scores_its_own_candidates() -> None:
    """In their order, with the fused scores."""
    found = candidates_of(CANDIDATES, 1)
    assert (found.total, found.hits) == (2, [(0.9, "a"), (0.7, "c")])
    assert candidates_of(CANDIDATES, 5).hits == []


def test_the_second_phase_sees_both_scores() -> None:
    """None in the leg that has not found a document."""
    documents = [{"id": "c", "_score": 0.7}, {"id": "a", "_score": 0.9}]
    add_leg_scores(documents, CANDIDATES)
    assert documents == [
        {"id": "c", "_score": 0.7, "_text_score": 2.0, "_vector_score": None},
        {"id": "a", "_score": 0.9, "_text_score": 3.0, "_vector_score": 0.5},
    ]
    ordinary = [{"id": "a"}]
    add_leg_scores(ordinary, ())
    assert ordinary == [{"id": "a"}]
