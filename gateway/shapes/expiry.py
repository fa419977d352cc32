"""When the documents of a collection expire."""

from typing import Annotated

import msgspec

from hedgerow.gateway.shapes.doc import doc


class ExpiryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By which field documents should expire."""

    field: Annotated[str, doc("Name of a date field; a document expires at the date in it.")]


class ExpiryAnswer(msgspec.Struct, frozen=True):
    """By which field documents expire."""

    field: Annotated[str | None, doc("null: they do not expire.")]
