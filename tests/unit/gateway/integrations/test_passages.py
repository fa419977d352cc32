"""What a retriever returns for an answer."""

from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.gateway.integrations.passages import Passage, passages_of
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.shapes.answer import Leg, LegHit, TotalHits
from tests.support.sample_results import as_answer, make_result


def passage(fields: dict[str, Any] | None, *content_fields: str) -> Passage:
    """The passage of a hit with these fields."""
    answer = as_answer(make_result(hits=[Hit("a", 1.5, 2, fields)]))
    (found,) = passages_of(answer, "shop", content_fields, allow_empty_partial=False)
    return found


def test_the_text_is_a_field_of_a_usual_name() -> None:
    """The best of them; the other fields are metadata."""
    found = passage({"id": "a", "title": "t", "description": "d", "body": "b"})
    assert found.text == "b"
    assert (found.metadata["title"], found.metadata["description"]) == ("t", "d")
    assert "body" not in found.metadata


def test_without_one_the_text_is_all_strings() -> None:
    """Numbers and objects stay metadata."""
    found = passage({"id": "a", "name": "lamp", "note": "of brass", "price": 3, "size": {"h": 1}})
    assert found.text == "lamp\n\nof brass"
    assert found.metadata["price"] == 3
    assert found.metadata["size"] == {"h": 1}


def test_chosen_fields_are_the_text_in_their_order() -> None:
    """Lists are joined; what a document lacks is left out."""
    found = passage({"tags": ["x", "y"], "title": "t", "text": "z"}, "title", "none", "tags")
    assert found.text == "t\n\nx\n\ny"
    assert found.metadata["text"] == "z"


def test_fields_that_could_not_be_read_are_said_to_be_missing() -> None:
    """The hit keeps its id and score."""
    found = passage(None)
    assert (found.id, found.text, found.score) == ("a", "", 1.5)
    assert found.metadata["fields_missing"] is True


def test_a_stored_field_is_not_taken_for_what_the_answer_covers() -> None:
    """A document cannot claim that its answer is whole."""
    found = passage({"text": "t", "partial": False, "coverage": 1.0, "id": "other"})
    assert found.metadata["partial"] is True
    assert found.metadata["coverage"] < 1
    assert found.metadata["stored_coverage"] == 1.0
    assert found.metadata["id"] == "a"


def test_what_the_options_of_a_search_add_is_metadata() -> None:
    """A suggestion, highlights and legs; members that were not asked for are absent."""
    leg = Leg(coverage_of(9, 9), make_result().answer().shards, TotalHits(3, "eq"), 3, 1.0)
    silent = replace(leg, coverage=coverage_of(0, 9, {"failed": 8}), left_out="it is broken")
    hit = Hit("a", 1.5, 2, {"text": "t", "legs": 4}, legs={"text": LegHit(2, 7.5)})
    hit.marked = Raw(b'{"text": ["<em>t</em>"]}')
    result = make_result(
        hits=[hit], legs={"text": leg, "vector": silent}, did_you_mean="brass lamp"
    )
    (found,) = passages_of(as_answer(result), "shop", (), allow_empty_partial=False)
    added = {
        "did_you_mean": "brass lamp",
        "coverage_of_legs": {"text": 1.0, "vector": 0.0},
        "left_out": {"vector": "it is broken"},
        "legs": {"text": {"rank": 2, "score": 7.5}},
        "highlights": {"text": ["<em>t</em>"]},
    }
    assert {name: found.metadata[name] for name in added} == added
    assert found.metadata["stored_legs"] == 4
    assert not added.keys() & passage({"text": "t"}).metadata.keys()


def test_a_vector_is_no_metadata() -> None:
    """A long list of numbers says nothing to a model; a short one, or one of strings, may."""
    found = passage({"text": "t", "embedding": [0.5] * 256, "sizes": [1, 2], "tags": ["a"] * 50})
    assert "embedding" not in found.metadata
    assert found.metadata["sizes"] == [1, 2]
    assert len(found.metadata["tags"]) == 50


def test_only_an_empty_answer_that_is_partial_raises() -> None:
    """A whole one that is empty says that nothing matches."""
    partial = as_answer(make_result(hits=[]))
    with pytest.raises(InsufficientCoverageError, match="19600 of 22400") as raised:
        passages_of(partial, "shop", (), allow_empty_partial=False)
    assert raised.value.result is partial
    assert passages_of(partial, "shop", (), allow_empty_partial=True) == []
    exact = as_answer(make_result(hits=[], coverage=replace(partial.coverage, exact=True)))
    assert passages_of(exact, "shop", (), allow_empty_partial=False) == []
    whole = as_answer(make_result(hits=[], coverage=coverage_of(9, 9, {})))
    assert passages_of(whole, "shop", (), allow_empty_partial=False) == []
