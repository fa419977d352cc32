"""Fields of a collection as a caller defines them: their types and members, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.embedding import check_sources
from hedgerow.common.fields.field_types import FieldType
from hedgerow.common.fields.vectors import VectorField, read_vector_field
from hedgerow.common.fields.word_analysis import MEMBERS, WordAnalysis, analysis_of_members

MAX_FIELDS = 256
MAX_WEIGHT = 10  # of a text field: the joined field holds its words this many times
FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,99}\Z")


@dataclass
class DefinedFields:
    """Fields as they are defined: their types, and what of the rest is given."""

    types: dict[str, FieldType] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, VectorField] = field(default_factory=dict)
    analyses: dict[str, WordAnalysis] = field(default_factory=dict)


def define_fields(fields: Any, base: WordAnalysis, texts: int) -> DefinedFields:
    """Read fields of a collection whose analysis is `base`.

    Args:
        fields: name → type, or an object of a type and other members.
        base: how texts become words in fields that say nothing else.
        texts: the latest `Collection.texts` that the collection may have.

    Raises:
        BadRequestError: names the offending field or member, and the reason.
    """
    if not isinstance(fields, Mapping):
        raise BadRequestError("fields", "should be an object of field names and types")
    if len(fields) > MAX_FIELDS:
        raise BadRequestError("fields", f"has {len(fields)} fields; {MAX_FIELDS} is the limit")
    defined = DefinedFields()
    for name, one in fields.items():
        members = one if isinstance(one, Mapping) else {"type": one}
        if members.get("type") == FieldType.VECTOR:
            defined.vectors[name] = read_vector_field(name, members)
            members = {"type": FieldType.VECTOR}
        _define_field(defined, name, _checked_members(name, members), base, texts)
    return defined


def check_embeddings(fields: Mapping[str, FieldType], vectors: Mapping[str, VectorField]) -> None:
    """Make sure that vectors are made of fields that exist, and hold texts.

    Raises:
        BadRequestError: names the vector's field and the reason.
    """
    for name, vector in vectors.items():
        if vector.embedding is not None:
            check_sources(name, vector.embedding, fields)


def _define_field(
    defined: DefinedFields, name: str, members: dict[str, Any], base: WordAnalysis, texts: int
) -> None:
    kind = members.pop("type", None)
    if not isinstance(kind, str) or kind not in set(FieldType):
        raise BadRequestError(f"fields.{name}", f"should have a type of {', '.join(FieldType)}")
    if name == ID_FIELD:
        if kind != FieldType.KEYWORD:
            raise BadRequestError("fields.id", "is always a keyword")
        return
    if not FIELD_NAME.match(name):
        raise BadRequestError(
            f"fields.{name}", "should be letters, digits, '_' and '.', at most 100, a letter first"
        )
    defined.types[name] = FieldType(kind)
    if members and kind != FieldType.TEXT:
        raise BadRequestError(
            f"fields.{name}.{next(iter(members))}", f"is for text fields; this is a {kind}"
        )
    if "weight" in members:
        defined.weights[name] = _checked_weight(name, members.pop("weight"))
    if members and (own := analysis_of_members(name, members, base, texts)) != base:
        defined.analyses[name] = own


def _checked_members(name: str, members: Mapping[str, Any]) -> dict[str, Any]:
    """The members of the definition of a field that is no vector."""
    for key in members:
        if key not in {"type", "weight", *MEMBERS}:
            raise BadRequestError(
                f"fields.{name}.{key}",
                f"is unknown; a field has type, weight, {', '.join(MEMBERS)}",
            )
    return {key: value for key, value in members.items() if value is not None}


def _checked_weight(name: str, weight: Any) -> int:
    if type(weight) is not int or not 0 <= weight <= MAX_WEIGHT:  # True is an int too
        reason = f"should be a whole number from 0 to {MAX_WEIGHT}"
        raise BadRequestError(f"fields.{name}.weight", reason)
    return weight
