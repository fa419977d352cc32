"""Requests about collections, their aliases and synonyms, and the expiry of their documents."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.client.calls.call import (
    Call,
    answer,
    given,
    json_of,
    path_of_collection,
    segment,
)
from hedgerow.gateway.client.reply import Reply
from hedgerow.gateway.shapes.alias import (
    AliasAnswer,
    AliasBody,
    AliasChange,
    AliasChanges,
    AliasesAnswer,
)
from hedgerow.gateway.shapes.collection import CollectionAnswer, CollectionsAnswer
from hedgerow.gateway.shapes.expiry import ExpiryAnswer, ExpiryBody
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer, SynonymsBody


class Definition(TypedDict, total=False):
    """The definition of a new collection; the gateway has defaults for what is left out, or None.

    Attributes:
        fields: field → type (text, keyword, integer, float, boolean, date), for a text field
            perhaps {"type": "text", "weight": 3, "language": "german", "folding": False} or
            {"type": "text", "ngrams": 3}, for a vector {"type": "vector", "dimensions": 256};
            inferred from the first documents if left out.
        rank_profile: the profile of searches that name none.
        language: the language of the text, or "none".
        folding: whether accents make no difference to words.
    """

    fields: Mapping[str, str | Mapping[str, Any]] | None
    rank_profile: str | None
    language: str | None
    folding: bool | None


def put_collection(name: str, definition: Definition) -> Call[CollectionAnswer]:
    """Create a collection; no effect if it exists with the same definition."""
    return Call(
        "PUT",
        path_of_collection(name),
        answer(CollectionAnswer),
        body=json_of(given(definition)),
    )


def add_fields(name: str, fields: Mapping[str, str | Mapping[str, Any]]) -> Call[CollectionAnswer]:
    """Add fields to a collection."""
    return Call(
        "PATCH",
        path_of_collection(name),
        answer(CollectionAnswer),
        body=json_of({"fields": fields}),
    )


def get_collection(name: str) -> Call[CollectionAnswer]:
    """Describe a collection."""
    return Call("GET", path_of_collection(name), answer(CollectionAnswer))


def list_collections() -> Call[list[CollectionAnswer]]:
    """Describe all collections."""
    return Call("GET", "/v1/collections", lambda reply: reply.typed(CollectionsAnswer).collections)


def delete_collection(name: str) -> Call[None]:
    """Remove a collection with its documents."""
    return Call("DELETE", path_of_collection(name), Reply.nothing)


def set_expiry(name: str, field: str) -> Call[ExpiryAnswer]:
    """Have documents expire at the date in a field."""
    body = json_of(ExpiryBody(field))
    return Call("PUT", _expiry(name), answer(ExpiryAnswer), body=body)


def get_expiry(name: str) -> Call[ExpiryAnswer]:
    """Return by which field documents expire."""
    return Call("GET", _expiry(name), answer(ExpiryAnswer))


def delete_expiry(name: str) -> Call[None]:
    """Have documents expire no longer."""
    return Call("DELETE", _expiry(name), Reply.nothing)


def list_aliases() -> Call[list[AliasAnswer]]:
    """Return the aliases of collections."""
    return Call("GET", "/v1/aliases", _aliases)


def change_aliases(changes: Mapping[str, str | None]) -> Call[list[AliasAnswer]]:
    """Set and remove aliases in one step."""
    body = AliasChanges([AliasChange(alias, name) for alias, name in changes.items()])
    return Call("POST", "/v1/aliases", _aliases, body=json_of(body))


def get_alias(alias: str) -> Call[AliasAnswer]:
    """Return which collection an alias stands for."""
    return Call("GET", _alias(alias), answer(AliasAnswer))


def put_alias(alias: str, collection: str) -> Call[AliasAnswer]:
    """Make an alias stand for a collection."""
    body = json_of(AliasBody(collection))
    return Call("PUT", _alias(alias), answer(AliasAnswer), body=body)


def delete_alias(alias: str) -> Call[None]:
    """Remove an alias."""
    return Call("DELETE", _alias(alias), Reply.nothing)


def put_synonyms(
    name: str, groups: Sequence[Sequence[str]], one_way: Mapping[str, Sequence[str]]
) -> Call[SynonymsAnswer]:
    """Replace a collection's synonyms.

    Raises:
        BadRequestError: a text stands where a list of texts belongs.
    """
    listed = [_texts("groups", group) for group in groups]
    body = SynonymsBody(
        listed, {word: _texts(f"one_way.{word}", also) for word, also in one_way.items()}
    )
    return Call("PUT", _synonyms(name), answer(SynonymsAnswer), body=json_of(body))


def get_synonyms(name: str) -> Call[SynonymsAnswer]:
    """Ask for a collection's synonyms."""
    return Call("GET", _synonyms(name), answer(SynonymsAnswer))


def delete_synonyms(name: str) -> Call[None]:
    """Remove a collection's synonyms."""
    return Call("DELETE", _synonyms(name), Reply.nothing)


def _texts(where: str, texts: Sequence[str]) -> list[str]:
    """Return a group of texts as a list.

    Raises:
        BadRequestError: it is a single text, which would be read as its characters.
    """
    if isinstance(texts, str):
        raise BadRequestError(where, f"has the text {texts!r} where a list of texts belongs")
    return list(texts)


def _synonyms(name: str) -> str:
    return f"{path_of_collection(name)}/synonyms"


def _expiry(name: str) -> str:
    return f"{path_of_collection(name)}/expiry"


def _alias(alias: str) -> str:
    return f"/v1/aliases/{segment(alias)}"


def _aliases(reply: Reply) -> list[AliasAnswer]:
    return reply.typed(AliasesAnswer).aliases
