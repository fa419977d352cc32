"""What the tools return, within their limits."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hedgerow.gateway.mcp.answers import document_text, found, one_document, search_text, state
from hedgerow.gateway.mcp.limits import Limits, size_of
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.shapes.answer import Leg, TotalHits
from tests.support.sample_results import as_answer, make_result

VALUES = st.recursive(
    st.text(max_size=300) | st.integers(-9, 9) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
DOCUMENT = st.dictionaries(st.text(max_size=5), VALUES, max_size=5)


def hits_of(documents: list[dict[str, Any]]) -> list[Hit]:
    """Hits with these fields."""
    return [Hit(f"d{number}", 1.0, 0, one) for number, one in enumerate(documents)]


@settings(max_examples=40)
@given(documents=st.lists(DOCUMENT, min_size=1, max_size=6), max_bytes=st.integers(100, 2_000))
def test_an_answer_never_exceeds_its_bytes(documents: list[dict[str, Any]], max_bytes: int) -> None:
    """The first hits that fit are returned, the very first in any case, and the others counted."""
    limits = Limits(max_bytes=max_bytes, max_characters=50)
    answer = found(as_answer(make_result(hits=hits_of(documents))), limits)
    assert [hit["id"] for hit in answer["hits"]] == [f"d{n}" for n in range(len(answer["hits"]))]
    assert len(answer["hits"]) + answer["hits_left_out"] == len(documents)
    assert answer["hits"]
    size = sum(map(size_of, answer["hits"]))
    # An id and a score are returned even if nothing else fits.
    assert size <= max_bytes + size_of({"id": "d0", "score": 1.0, "fields": {}, "is_cut": True})


def test_a_hit_that_fits_is_whole_though_the_next_one_does_not() -> None:
    """Only a hit that is too large by itself loses fields."""
    documents = [{"text": "a" * 40}, {"text": "b" * 400}]
    answer = found(as_answer(make_result(hits=hits_of(documents))), Limits(max_bytes=200))
    assert [hit["fields"] for hit in answer["hits"]] == documents[:1]
    assert answer["hits"][0]["is_cut"] is False
    assert answer["hits_left_out"] == 1


def test_a_vector_is_left_out() -> None:
    """A long list of numbers says nothing to a model; that it is there is said."""
    document = {"embedding": [0.5] * 256, "sizes": [1, 2]}
    answer = one_document("shop", "a", document, Limits())
    assert answer["document"] == {"embedding": "(256 numbers, left out)", "sizes": [1, 2]}
    assert answer["is_cut"] is True


@settings(max_examples=40)
@given(document=DOCUMENT)
def test_a_document_is_cut_or_unchanged(document: dict[str, Any]) -> None:
    """`is_cut` is true exactly if something of it is missing, also deep within."""
    limits = Limits(max_bytes=1_024, max_characters=20)
    answer = one_document("shop", "a", document, limits)
    assert answer["is_cut"] == (answer["document"] != document)
    assert size_of(answer["document"]) <= 1_024
    assert ("(long text was cut)" in document_text(answer)) == answer["is_cut"]


def test_a_partial_answer_begins_with_what_is_missing() -> None:
    """In words and in numbers, with how the shards ended."""
    answer = found(as_answer(make_result()), Limits())
    assert (answer["partial"], answer["outcomes"]) == (True, {"timed_out": 1})
    assert answer["note"].startswith(
        "Only 87.5 % of the documents were searched (19600 of 22400); 1 of 8 shards did not "
        "answer (timed_out 1)."
    )
    assert search_text(answer).startswith(f"PARTIAL ANSWER. {answer['note']}\n\nAt least 812 ")


def test_a_partial_answer_that_is_exact_says_so() -> None:
    """It is partial, but the agent may conclude from it."""
    partial = as_answer(make_result()).coverage
    answer = found(as_answer(make_result(coverage=replace(partial, exact=True))), Limits())
    assert (answer["partial"], answer["exact"]) == (True, True)
    assert "do not conclude" not in answer["note"]
    assert "exact all the same" in answer["note"]
    assert found(as_answer(make_result()), Limits())["exact"] is False


def test_the_legs_of_a_hybrid_search_say_how_they_went() -> None:
    """A leg that is left out is named, with its reason; other searches have no legs."""
    shards, total = make_result().answer().shards, TotalHits(3, "gte")
    text = Leg(coverage_of(9, 9), shards, total, 3, 1.0)
    vector = replace(text, coverage=coverage_of(0, 9, {"failed": 8}), left_out="it is broken")
    answer = found(
        as_answer(
            make_result(
                legs={"text": text, "vector": vector}, coverage=coverage_of(0, 9, {"failed": 8})
            )
        ),
        Limits(),
    )
    assert answer["legs"] == {
        "text": {"coverage": 1.0, "left_out": "", "took_ms": 1.0},
        "vector": {"coverage": 0.0, "left_out": "it is broken", "took_ms": 1.0},
    }
    assert answer["partial"] is True
    assert answer["note"].startswith(
        "Of the rankings that are fused, text has searched 100 % of the documents, and vector is "
        "left out (it is broken)."
    )
    assert "legs" not in found(as_answer(make_result()), Limits())


def test_nearly_all_documents_are_not_all() -> None:
    """A share that rounds to 100 % is not called so."""
    partial = make_result(coverage=coverage_of(99_999, 100_000, {"failed": 1}))
    assert found(as_answer(partial), Limits())["note"].startswith("Only 99.9 %")


def test_a_whole_answer_has_no_note() -> None:
    """It begins with the hits; their fields may be missing, which is said."""
    whole = make_result(coverage=coverage_of(9, 9, {}), hits=[Hit("a", 1.0, 0, None)])
    answer = found(as_answer(whole), Limits())
    assert (answer["partial"], answer["note"]) == (False, "")
    assert "could not be read in time" in search_text(answer)


def test_without_the_right_to_know_it_is_unknown_whether_all_can_be_asked() -> None:
    """It is not said to be whole."""
    assert state([], None, Limits())["is_whole"] is None
