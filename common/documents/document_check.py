"""Which documents fit a collection, and the form in which their vectors are stored."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hedgerow.common.collection import Collection
from hedgerow.common.document_ids import ID_FIELD, MAX_ID_BYTES, document_id
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import mismatch
from hedgerow.common.fields.vectors import stored_form

_NONE: Mapping[str, str] = MappingProxyType({})


def check_document(
    collection: Collection,
    document: Any,
    id_field: str = ID_FIELD,
    max_id_bytes: int = MAX_ID_BYTES,
) -> Mapping[str, str]:
    """Refuse a document that does not fit its collection.

    Fields that are not declared may hold any value: they are stored, but not indexed. A declared
    field may be absent or null.

    Returns:
        Field → why its value cannot be indexed, for the fields whose type was inferred.

    Raises:
        BadRequestError: names the field and the reason.
    """
    if not isinstance(document, dict):
        raise BadRequestError("document", "should be a JSON object")
    document_id(document, id_field, max_id_bytes)
    misfits: dict[str, str] | None = None
    for name, kind in (collection.fields or {}).items():
        value = document.get(name)
        if value is not None and (reason := mismatch(kind, value)):
            if name not in collection.inferred:
                raise BadRequestError(name, reason)
            misfits = misfits or {}
            misfits[name] = reason
    for name, vector in collection.vectors.items():
        if (value := document.get(name)) is not None:
            try:
                vector.pack(value)
            except ValueError as error:
                raise BadRequestError(name, str(error)) from None
    return _NONE if misfits is None else misfits


def with_stored_vectors(collection: Collection, document: dict[str, Any]) -> bool:
    """Put the vectors of a document that fits its collection into the form that is stored.

    Returns:
        Whether that has changed the document.
    """
    has_changed = False
    for name, vector in collection.vectors.items():
        if (value := document.get(name)) is not None:
            document[name] = stored_form(vector.pack(value))
            has_changed |= document[name] != value
    return has_changed
