"""What is refused before anything is sent."""

import math
from typing import Any

import pytest

from common.collection import Collection, define
from common.config import GatewaySettings, RankProfile
from common.errors import BadRequestError, TooLargeError
from gateway.admit import admit
from gateway.result import SearchQuery

COLLECTION: Collection = define(
    "things", {"fields": {"title": "text", "year": "integer"}}, uid="u1"
)
PROFILES = {"bm25": RankProfile(), "noop": RankProfile(first_phase="noop", lane="loop")}


def admitted(**changes: Any) -> tuple[str, tuple[str, ...]]:
    """Admit a good query with some changes."""
    query = SearchQuery(**{"collection": "things", "query": "hedge", **changes})
    return admit(query, COLLECTION, GatewaySettings(), PROFILES)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"k": 0}, "k"),
        ({"k": GatewaySettings().max_k + 1}, "k"),
        ({"deadline_ms": 0.0}, "deadline_ms"),
        ({"deadline_ms": -1.0}, "deadline_ms"),
        ({"deadline_ms": math.nan}, "deadline_ms"),
        ({"deadline_ms": math.inf}, "deadline_ms"),
        ({"deadline_ms": GatewaySettings().max_deadline_ms + 1}, "deadline_ms"),
        ({"minimum_coverage": 1.01}, "minimum_coverage"),
        ({"minimum_coverage": -0.1}, "minimum_coverage"),
        ({"minimum_coverage": math.nan}, "minimum_coverage"),
        ({"rank_profile": "unheard-of"}, "rank_profile"),
        ({"filter": "colour:red"}, "filter"),
        ({"filter": "year:>=("}, "filter"),
        ({"filter": "year:>=1990", "rank_profile": "noop"}, "filter"),
        ({"query": "title:(", "syntax": "strict"}, "query"),
    ],
)
def test_bad_input_names_its_field(changes: dict[str, Any], field: str) -> None:
    """Each part out of its range is refused with the name of that part."""
    with pytest.raises(BadRequestError) as refused:
        admitted(**changes)
    assert refused.value.field == field


def test_the_longest_query_is_let_in_and_one_more_character_is_not() -> None:
    """The limit on characters is where it says."""
    limit = GatewaySettings().max_query_chars
    admitted(query="x" * limit)
    for field in ("query", "filter"):
        with pytest.raises(TooLargeError, match=field):
            admitted(**{field: "x" * (limit + 1)})


def test_a_strict_error_has_its_position() -> None:
    """The place of a syntax error is told, within the query."""
    with pytest.raises(BadRequestError) as refused:
        admitted(query="good (bad", syntax="strict")
    assert refused.value.position is not None
    assert 0 <= refused.value.position <= len("good (bad")


def test_a_lenient_query_is_let_in_with_warnings() -> None:
    """What strict refuses, lenient repairs and says so."""
    name, warnings = admitted(query='good "bad')
    assert name == "bm25"
    assert warnings


def test_the_collections_own_profile_applies_unless_another_is_named() -> None:
    """The profile is the collection's, or the query's."""
    assert admitted()[0] == "bm25"
    assert admitted(rank_profile="noop")[0] == "noop"
