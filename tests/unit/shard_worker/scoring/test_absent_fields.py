"""The warning of fields that a rank profile reads and that no document has."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.wire.messages import SearchPayload, pack_body
from hedgerow.shard_worker.scoring import absent_fields
from hedgerow.shard_worker.scoring.absent_fields import ENOUGH, AbsentFields
from hedgerow.shard_worker.scoring.scorer import ScorerConfig, make_scorer
from tests.unit.support.shards import EndlessBudget, OneShard

FIELDS = ("title", "popularty")


def warned(searches: Iterable[list[dict[str, Any]]], fields: Iterable[str] = FIELDS) -> list[Any]:
    """The fields that are named in the log after these searches' candidates."""
    absent = AbsentFields()
    with capture_logs() as lines:
        for candidates in searches:
            absent.look("mine", fields, "u1", candidates)
    assert {line["event"] for line in lines} <= {"rank_profile_fields_absent"}
    return [line["fields"] for line in lines]


def test_a_field_that_no_candidate_has_is_named_once() -> None:
    """After enough candidates, of one search or of many small ones, whatever its name is like."""
    one = [{"id": "a", "title": "x"}]
    assert warned([one * ENOUGH, one * ENOUGH]) == [["popularty"]]
    assert warned([one] * (3 * ENOUGH)) == [["popularty"]]
    assert warned([one] * (ENOUGH - 1)) == []


def test_a_field_that_some_documents_have_is_not_named() -> None:
    """Documents may lack a field; one that has it is enough."""
    some = [{"title": "x"}] * (ENOUGH - 1) + [{"popularty": 3}]
    assert warned([some, [{}] * ENOUGH]) == []


def test_collections_and_profiles_are_told_apart_and_bounded() -> None:
    """Each pair is warned of by itself; what is remembered of them has a limit."""
    absent = AbsentFields()
    with capture_logs() as lines:
        for number in range(3):
            absent.look("mine", ["x"], f"u{number}", [{}] * ENOUGH)
            absent.look("other", ["x"], f"u{number}", [{}] * ENOUGH)
    assert len(lines) == 6
    with capture_logs():
        for number in range(2 * absent_fields._MOST_PAIRS):
            absent.look("mine", ["x"], f"u{number}", [{}] * ENOUGH)
    assert len(absent._watches) <= absent_fields._MOST_PAIRS


def score(_query: str, documents: list[dict[str, Any]]) -> list[float]:
    """A second phase that does not mind."""
    return [1.0 for _ in documents]


@pytest.mark.parametrize(("fields", "named"), [(("title", "titel"), ["titel"]), (("title",), None)])
def test_a_scorer_looks_at_what_its_function_receives(
    tmp_path: Path, fields: tuple[str, ...], named: list[str] | None
) -> None:
    """The warning is logged when a profile is first used."""
    documents: list[dict[str, object]] = [
        {"id": f"d{number}", "title": "wing"} for number in range(ENOUGH)
    ]
    shard = OneShard.of(tmp_path, {"title": "text"}, documents)
    profiles = {"mine": RankProfile(second_phase=f"{__name__}:score", fields=list(fields))}
    scorer = make_scorer(ScorerConfig(str(shard.data), profiles))
    payload = pack_body(SearchPayload("u1", "wing", 10, "mine", "", strict=False))
    try:
        with capture_logs() as lines:
            scorer((0, shard.open().generation, payload), EndlessBudget())
    finally:
        scorer.close()
    assert [line["fields"] for line in lines] == ([] if named is None else [named])
