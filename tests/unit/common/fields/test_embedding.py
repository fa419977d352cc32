"""What a field's vectors are made of."""

from typing import Any

import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.embedding import Embedding, check_sources, read_embedding
from hedgerow.common.fields.field_types import FieldType

FIELDS = {"title": FieldType.TEXT, "tags": FieldType.KEYWORD, "price": FieldType.FLOAT}


def test_a_definition_says_the_function_and_the_fields() -> None:
    """Both members are read, and written as they were."""
    definition = {"type": "vector", "embed": "models.small:embed", "from": ["title", "tags"]}
    embedding = read_embedding("v", definition)
    assert embedding == Embedding("models.small:embed", ("title", "tags"))
    assert embedding is not None
    assert embedding.to_json() == {"embed": "models.small:embed", "from": ["title", "tags"]}
    assert read_embedding("v", {"type": "vector"}) is None


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({"embed": "models"}, "fields.v.embed"),
        ({"embed": "models:embed; import os"}, "fields.v.embed"),
        ({"embed": 3}, "fields.v.embed"),
        ({"embed": f"m:{'f' * 200}"}, "fields.v.embed"),
        ({"from": ["title"]}, "fields.v.from"),
        ({"embed": "m:f", "from": []}, "fields.v.from"),
        ({"embed": "m:f", "from": "title"}, "fields.v.from"),
        ({"embed": "m:f", "from": [1]}, "fields.v.from"),
        ({"embed": "m:f", "from": ["a"] * 17}, "fields.v.from"),
    ],
)
def test_a_bad_definition_is_refused_by_the_name_of_the_member(
    definition: dict[str, Any], field: str
) -> None:
    """The caller learns which member is at fault."""
    with pytest.raises(BadRequestError) as caught:
        read_embedding("v", definition)
    assert caught.value.field == field


def test_only_texts_of_the_collection_are_embedded() -> None:
    """A source has to be a declared text or keyword; without sources, there has to be a text."""
    check_sources("v", Embedding("m:f", ("title", "tags")), FIELDS)
    check_sources("v", Embedding("m:f"), FIELDS)
    for sources in (("price",), ("author",)):
        with pytest.raises(BadRequestError, match=sources[0]):
            check_sources("v", Embedding("m:f", sources), FIELDS)
    with pytest.raises(BadRequestError, match="no text field"):
        check_sources("v", Embedding("m:f"), {"price": FieldType.FLOAT})


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"title": "Red", "tags": ["a", "b"]}, "Red\na\nb"),
        ({"title": " Red ", "tags": None}, "Red"),
        ({"tags": [1984, True]}, "1984\ntrue"),
        ({"title": {"nested": "x"}, "tags": "a"}, "a"),
        ({"title": ""}, ""),
        ({}, ""),
    ],
)
def test_the_text_is_that_of_the_sources(document: dict[str, Any], text: str) -> None:
    """In the order of the sources; what is missing or no text is left out."""
    assert Embedding("m:f", ("title", "tags")).text_of(document, ()) == text


def test_without_sources_the_searched_fields_are_embedded() -> None:
    """They are what a word without a field name is searched in."""
    assert Embedding("m:f").text_of({"title": "Red", "notes": "x"}, ("title",)) == "Red"
