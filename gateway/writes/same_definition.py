"""Whether a definition is that of a collection that exists."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import ConflictError
from hedgerow.common.fields.word_analysis import FIELD_TEXTS, TEXTS


def check_same(stored: Collection, body: Mapping[str, Any]) -> None:
    """Refuse a definition that is not that of the stored collection.

    Raises:
        BadRequestError: the definition is invalid.
        ConflictError: it is another; says how.
    """
    is_plain = stored.texts < TEXTS and not body.get("folding")
    texts = stored.texts if is_plain else FIELD_TEXTS
    same = define(stored.name, body, stored.uid, texts)
    if same.fields is None and stored.fields is not None:
        same = same.with_fields(
            stored.fields, stored.weights, vectors=stored.vectors, analyses=stored.analyses
        )
    same = replace(same, inferred=stored.inferred, revision=stored.revision)
    if same != stored:
        raise ConflictError(
            f'the collection "{stored.name}" exists already, and {_difference(stored, same)}'
        )


def _difference(stored: Collection, wanted: Collection) -> str:
    """Say how the stored collection differs, as a clause with JSON values."""
    fields, others = stored.defined_fields, wanted.defined_fields
    if fields != others:
        there = "yet to be inferred" if fields is None else _json(fields)
        return f"its fields are {there}, not {_json(others or {})}"
    for part in ("rank_profile", "language", "folding"):
        there, asked = getattr(stored, part), getattr(wanted, part)
        if there != asked:
            return f"its {part} is {_json(there)}, not {_json(asked)}"
    return "it is another"


def _json(value: str | bool | Mapping[str, Any]) -> str:
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False)
