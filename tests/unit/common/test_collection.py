"""Definitions say what is wrong with them, and are the same wherever they are read."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.common.collection import Collection, define, with_added_fields
from hedgerow.common.document_ids import document_id
from hedgerow.common.errors import BadRequestError, ConflictError, TooLargeError
from hedgerow.common.fields.field_definitions import MAX_FIELDS
from hedgerow.common.fields.field_types import FieldType, mismatch, parse_date, texts_of
from hedgerow.common.fields.word_analysis import FIELD_TEXTS, PLAIN_TEXTS, TEXTS
from hedgerow.gateway.writes.field_inference import MAX_NAMES, FieldInference
from tests.unit.support.shards import fields_of


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("", {}, "name"),
        ("a/b", {}, "name"),
        ("-a", {}, "name"),
        ("c", {"field": {}}, "field"),
        ("c", {"language": "klingon"}, "language"),
        ("c", {"language": ["english"]}, "language"),
        ("c", {"rank_profile": 3}, "rank_profile"),
        ("c", {"fields": ["title"]}, "fields"),
        ("c", {"fields": {"title": "string"}}, "fields.title"),
        ("c", {"fields": {"title": ["text"]}}, "fields.title"),
        ("c", {"fields": {"title": {"weight": 3}}}, "fields.title"),
        ("c", {"fields": {"title": {"type": "text", "boost": 3}}}, "fields.title.boost"),
        *(
            ("c", {"fields": {"title": {"type": "text", "weight": weight}}}, "fields.title.weight")
            for weight in (-1, 11, 1.5, "3", True)
        ),
        ("c", {"fields": {"n": {"type": "integer", "weight": 1}}}, "fields.n.weight"),
        ("c", {"fields": {"n": {"type": "date", "language": "none"}}}, "fields.n.language"),
        *(
            ("c", {"fields": {"t": {"type": "text", **member}}}, f"fields.t.{next(iter(member))}")
            for member in (
                {"language": "klingon"},
                {"folding": 1},
                {"ngrams": 1},
                {"ngrams": 9},
                {"ngrams": True},
                {"language": "german", "ngrams": 3},
            )
        ),
        ("c", {"fields": {"_text": "text"}}, "fields._text"),
        ("c", {"fields": {"a b": "text"}}, "fields.a b"),
        ("c", {"fields": {"1st": "text"}}, "fields.1st"),
        ("c", {"fields": {"id": "integer"}}, "fields.id"),
        ("c", {"fields": {f"f{n}": "text" for n in range(257)}}, "fields"),
    ],
)
def test_a_bad_definition_names_the_offending_key(name: str, body: Any, field: str) -> None:
    """Each mistake is refused under the name that the caller wrote."""
    with pytest.raises(BadRequestError) as refused:
        define(name, body)
    assert refused.value.field == field


def test_the_id_may_be_declared_and_is_no_field_of_its_own() -> None:
    """Declaring `id` a keyword is the same as not declaring it; it can be asked for either way."""
    collection = define("c", {"fields": {"id": "keyword", "title": "text"}})
    assert collection.fields == {"title": FieldType.TEXT}
    assert collection.type_of("id") is FieldType.KEYWORD
    assert define("c", {}).type_of("id") is FieldType.KEYWORD
    assert define("c", {}).type_of("title") is None


def test_each_definition_gets_an_id_of_its_own() -> None:
    """A collection that is made again is another one; one that is changed keeps its id."""
    assert define("c", {}).uid != define("c", {}).uid
    assert define("c", {}, uid="u").uid == "u"


WEIGHTED = {"t": {"type": "text", "weight": 3}, "u": {"type": "text", "weight": 0}, "n": "date"}


@pytest.mark.parametrize("fields", [None, {}, {"t": "text", "n": "integer"}, WEIGHTED])
def test_a_definition_survives_json(fields: Any) -> None:
    """What is written is what is read, whether fields are known or not."""
    body = {"language": "german", "rank_profile": "p"} | (
        {} if fields is None else {"fields": fields}
    )
    collection = define("c", body)
    read = Collection.from_json(collection.to_json())
    assert read == collection
    assert read.text_fields == collection.text_fields
    assert read.searched_fields == collection.searched_fields
    assert read.defined_fields == fields


def test_an_analysis_of_a_field_is_kept_where_it_is_its_own() -> None:
    """A field has only what differs from its collection, in descriptions too."""
    fields = {
        "de": {"type": "text", "language": "german", "weight": 2},
        "en": {"type": "text", "language": "english", "folding": True},
        "raw": {"type": "text", "folding": False},
        "part": {"type": "text", "ngrams": 3},
    }
    collection = define("c", {"fields": fields})
    assert collection.analyses.keys() == {"de", "raw", "part"}
    assert collection.defined_fields == {**fields, "en": "text"}
    again = Collection.from_json(collection.to_json())
    assert again == collection
    assert define("c", {"fields": again.defined_fields}, uid=collection.uid) == collection


def test_a_definition_without_analyses_of_fields_is_as_before() -> None:
    """Earlier versions read it; with such a field they refuse it, since they would ignore it."""
    plain = json.loads(define("c", {"fields": {"t": "text"}}).to_json())
    assert plain["texts"] == TEXTS
    assert "analyses" not in plain
    own = define("c", {"fields": {"t": {"type": "text", "language": "german"}}})
    assert json.loads(own.to_json())["texts"] == FIELD_TEXTS


def test_an_analysis_of_a_field_needs_workers_that_know_it() -> None:
    """While an older worker lives, or in a collection of an earlier version, it is refused."""
    fields = {"t": {"type": "text", "language": "german"}}
    with pytest.raises(BadRequestError) as refused:
        define("c", {"fields": fields}, texts=TEXTS)
    assert refused.value.field == "fields.t.language"
    earlier = define("c", {"fields": {"a": "text"}}, texts=PLAIN_TEXTS)
    with pytest.raises(BadRequestError):
        with_added_fields(earlier, fields)


def test_the_analysis_of_a_field_cannot_be_changed() -> None:
    """The refusal says what the field is, and what to do instead."""
    collection = define("c", {"fields": {"t": {"type": "text", "language": "german"}}})
    for changed in ("text", {"type": "text", "ngrams": 3}):
        with pytest.raises(ConflictError, match=r'analysed with .*"german".* new collection'):
            with_added_fields(collection, {"t": changed})
    wider = with_added_fields(define("c", {"fields": {"a": "text"}}), collection.defined_fields)
    assert wider.analyses == collection.analyses
    assert wider.extends(define("c", {"fields": {"a": "text"}}))
    assert not wider.extends(define("c", {"fields": {"t": "text"}}))


def test_a_weight_of_1_is_as_if_not_written() -> None:
    """It makes the same definition, which earlier versions read."""
    plain = define("c", {"fields": {"t": "text"}}, uid="u")
    weighted = define("c", {"fields": {"t": {"type": "text", "weight": 1}}}, uid="u")
    assert weighted == plain
    assert "weight" not in weighted.to_json()


def test_inferred_fields_and_additions_survive_json() -> None:
    """They are written where there are any; other definitions are as in earlier versions."""
    collection = define("c", {"fields": {"year": "integer"}})
    assert not {"inferred", "revision"} & json.loads(collection.to_json()).keys()
    inferred = collection.with_fields(collection.fields or {}, inferred=["year"])
    wider = with_added_fields(inferred, WEIGHTED)
    read = Collection.from_json(wider.to_json())
    assert read == wider
    assert (sorted(read.inferred), read.revision) == (["year"], 1)
    assert list(read.fields or {}) == ["year", "t", "u", "n"]
    assert read.weight_of("t") == 3


def test_fields_can_be_added_and_nothing_else() -> None:
    """An addition extends a definition; the same again changes nothing, a change is refused."""
    collection = define("c", {"fields": {"t": {"type": "text", "weight": 3}, "n": "integer"}})
    wider = with_added_fields(collection, {"n": "integer", "day": "date"})
    assert wider.fields == {"t": "text", "n": "integer", "day": "date"}
    assert wider.extends(collection)
    assert not collection.extends(wider)
    assert with_added_fields(wider, {"day": "date"}) is wider
    for fields, what in (
        ({"n": "float"}, '"n" is integer already'),
        ({"t": "text"}, '"t" is of weight 3 already'),
        ({"t": "keyword"}, '"t" is text already'),
    ):
        with pytest.raises(ConflictError, match=what):
            with_added_fields(collection, fields)
    with pytest.raises(BadRequestError, match=r"fields\.x"):
        with_added_fields(collection, {"x": "string"})
    with pytest.raises(BadRequestError, match="limit"):
        with_added_fields(collection, {f"f{n}": "text" for n in range(MAX_FIELDS - 1)})
    with pytest.raises(ConflictError, match="no fields yet"):
        with_added_fields(define("c", {}), {"n": "integer"})


def test_a_definition_extends_only_one_that_indexes_its_documents_alike() -> None:
    """Another type, weight or language is no extension."""
    one = define("c", {"fields": {"t": "text"}})
    assert one.extends(one)
    for other in (
        {"fields": {"t": "keyword", "n": "integer"}},
        {"fields": {"t": {"type": "text", "weight": 2}, "n": "integer"}},
        {"fields": {"t": "text", "n": "integer"}, "language": "german"},
        {"fields": {"n": "integer"}},
        {},
    ):
        assert not define("c", other).extends(one)


def test_an_id_is_a_string_or_a_whole_number() -> None:
    """Numbers count as their digits; the rest is refused under the id field's name."""
    assert document_id({"id": "é/ 1"}) == "é/ 1"
    assert document_id({"id": 12}) == "12"
    assert document_id({"key": "k", "id": 1}, "key") == "k"
    for bad in (None, "", 1.5, True, ["1"], "a\0b", "\ud800"):
        with pytest.raises(BadRequestError) as refused:
            document_id({"key": bad}, "key")
        assert refused.value.field == "key"


def test_an_id_is_limited_in_bytes_not_characters() -> None:
    """Ten characters of two bytes each pass a limit of twenty and not one of nineteen."""
    assert document_id({"id": "é" * 10}, max_bytes=20)
    with pytest.raises(TooLargeError):
        document_id({"id": "é" * 10}, max_bytes=19)


@settings(deadline=None)
@given(
    st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - made aware below
    st.integers(-14 * 60, 14 * 60),
)
def test_dates_of_any_offset_name_the_instant_that_they_say(naive: datetime, offset: int) -> None:
    """A date-time is read as `datetime` itself reads it, in UTC."""
    aware = naive.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert parse_date(aware.isoformat()) == aware


def test_a_leap_second_is_refused_by_name() -> None:
    """RFC 3339 allows second 60, which the index has no instant for; the reason says so."""
    assert mismatch(FieldType.DATE, "2016-12-31T23:59:59Z") == ""
    assert "leap second" in mismatch(FieldType.DATE, "2016-12-31T23:59:60Z")


def test_a_time_without_a_zone_is_refused_for_what_it_lacks() -> None:
    """As `datetime` writes it by default; what is no date with a zone either is not said to be."""
    for text in ("2024-05-17T12:00:00", "2024-05-17 12:00:00.5"):
        assert "without a time zone" in mismatch(FieldType.DATE, text)
    for value in ("2024-05-17T24:00:00", "2024-05", 2024, None):
        assert "time zone" not in mismatch(FieldType.DATE, value)


def test_a_full_date_is_its_first_instant_in_utc() -> None:
    """RFC 3339's full-date, without a time, begins at midnight in UTC."""
    assert parse_date("2020-02-29") == datetime(2020, 2, 29, tzinfo=UTC)
    assert parse_date("2020-02-29T25:00:00Z") is None
    assert parse_date("\u0662020-01-01") is None  # digits are those of ASCII


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, None], FieldType.INTEGER),
        ([1, 2.5], FieldType.FLOAT),
        ([True, False], FieldType.BOOLEAN),
        ([True, 1], FieldType.TEXT),
        ([1, "n/a"], FieldType.TEXT),
        (["A1", 7] * 5, FieldType.KEYWORD),
        ([7, True, "7"] * 5, FieldType.KEYWORD),
        (["a b", 7] * 5, FieldType.TEXT),
        (["a", ["b", 1]], FieldType.TEXT),
        (["2020-01-01", 5], FieldType.TEXT),
        ([1, []], FieldType.TEXT),
        (["a", [1, 2]], None),
        (["a", {"b": 1}], None),
        ([["a", None]], None),
        (["2020-01-01", "2021-01-01T00:00:00Z"], FieldType.DATE),
        (["2020-01-01", "soon"], FieldType.TEXT),
        (["one two"], FieldType.TEXT),
        (["word"], FieldType.TEXT),
        (["red", "green"] * 5, FieldType.KEYWORD),
        ([["red", "green"]] * 5, FieldType.KEYWORD),
        (["red wine", "beer"] * 5, FieldType.TEXT),
        ([str(n) for n in range(20)], FieldType.TEXT),
        ([{"a": 1}], None),
        (["a", 1], FieldType.TEXT),
        ([[1, 2]], None),
        ([2**63], FieldType.TEXT),
        ([None], None),
        ([[]], None),
    ],
)
def test_a_field_is_inferred_from_its_values(values: list[Any], kind: FieldType | None) -> None:
    """Each kind of value gives the type that finds it; what fits none is left out."""
    inferred = fields_of([{"id": "1", "f": value} for value in values])
    assert inferred.get("f") is kind


def test_names_that_a_query_cannot_spell_are_not_inferred() -> None:
    """Such fields are stored only; nor is the id a field."""
    assert fields_of([{"id": "1", "first name": "x", "_a": "x", "ok": "x"}]) == {
        "ok": FieldType.TEXT
    }


scalars = (
    st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from([2**63, 2.5, -0.5])
    | st.sampled_from(["x", "x y", "2020-01-01"])
)
json_values: st.SearchStrategy[Any] = (
    scalars
    | st.none()
    | st.lists(scalars, max_size=3)
    | st.sampled_from([{"k": 1}, [None], [["x"]], [{}]])
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), json_values)))
def test_a_field_is_of_the_first_type_that_fits_all_of_its_values(
    documents: list[dict[str, Any]],
) -> None:
    """Looking at one document after the other finds what looking at all values at once finds.

    Values of several kinds are texts, unless one of them is no text, or a list without strings. So
    are integers that a field of integers cannot hold, which would lose digits as floats.
    """
    single = [FieldType.BOOLEAN, FieldType.INTEGER, FieldType.FLOAT, FieldType.DATE]
    expected: dict[str, FieldType] = {}
    for name in dict.fromkeys(name for document in documents for name in document):
        values = [d[name] for d in documents if d.get(name) is not None]
        kinds = [kind for kind in single if not any(mismatch(kind, value) for value in values)]
        if 2**63 in values:
            kinds = []
        has_other = any(
            mismatch(FieldType.TEXT, value)
            or (isinstance(value, list) and value and not any(isinstance(v, str) for v in value))
            for value in values
        )
        if values and kinds:
            expected[name] = kinds[0]
        elif not has_other and (texts := [text for value in values for text in texts_of(value)]):
            recur = len(texts) >= 10 and len(texts) >= 2 * len(set(texts))
            is_keyword = recur and not any(" " in one for one in texts)
            expected[name] = FieldType.KEYWORD if is_keyword else FieldType.TEXT
    assert fields_of(documents) == expected


def test_inference_keeps_a_bounded_number_of_names() -> None:
    """Documents of ever new fields give the first ones, and the rest is not looked at."""
    inference = FieldInference()
    for number in range(20):
        inference.add({f"f{number}_{n}": n for n in range(10_000)})
    assert len(inference.explained()) == MAX_NAMES
    assert list(inference.result()) == [f"f0_{n}" for n in range(256)]
