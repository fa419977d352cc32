"""What a field's vectors are made of: texts of the document, and the function that embeds them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.field_types import TEXTUAL_TYPES, FieldType, mismatch, texts_of

EMBED: Final = "embed"  # the members of a field's definition
FROM: Final = "from"

_REFERENCE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z", re.ASCII)
_LONGEST: Final = 200  # characters of a reference
_MAX_SOURCES: Final = 16


class Embedding(NamedTuple):
    """How the vectors of a field are made from documents.

    Attributes:
        function: `module:function`, one of those that `embed.functions` allows.
        sources: the fields whose texts are embedded, in this order; empty for the fields in which
            words without a field name are searched.
    """

    function: str
    sources: tuple[str, ...] = ()

    def text_of(self, document: Mapping[str, Any], searched: Sequence[str]) -> str:
        """The text of a document that is embedded.

        Args:
            document: the document.
            searched: the fields that are meant if `sources` is empty.

        Returns:
            The texts of the fields, one below another; "" if the document has none.
        """
        parts: list[str] = []
        for name in self.sources or searched:
            value = document.get(name)
            # What does not fit an inferred type is stored, and neither indexed nor embedded.
            if value is not None and not mismatch(FieldType.TEXT, value):
                parts += filter(None, (text.strip() for text in texts_of(value)))
        return "\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The members of a field's definition."""
        sources = {FROM: list(self.sources)} if self.sources else {}
        return {EMBED: self.function, **sources}


def read_embedding(name: str, definition: Mapping[str, Any]) -> Embedding | None:
    """Read the members `embed` and `from` of a field's definition; None without them.

    Args:
        name: the field's.
        definition: the field's, which may have other members too.

    Raises:
        BadRequestError: names the member and the reason.
    """
    function, sources = definition.get(EMBED), definition.get(FROM)
    if function is None:
        if sources is not None:
            raise BadRequestError(f"fields.{name}.{FROM}", "does not apply without embed")
        return None
    if not isinstance(function, str) or not is_reference(function):
        raise BadRequestError(f"fields.{name}.{EMBED}", "should be written module:function")
    if sources is None:
        return Embedding(function)
    if (
        not isinstance(sources, list)
        or not 0 < len(sources) <= _MAX_SOURCES
        or not all(isinstance(source, str) for source in sources)
    ):
        raise BadRequestError(
            f"fields.{name}.{FROM}", f"should be a list of 1 to {_MAX_SOURCES} names of fields"
        )
    return Embedding(function, tuple(sources))


def check_sources(name: str, embedding: Embedding, fields: Mapping[str, FieldType]) -> None:
    """Check that the fields whose texts are embedded have texts.

    Args:
        name: of the field whose vectors are made.
        embedding: what they are made of.
        fields: all fields of the collection.

    Raises:
        BadRequestError: one is not declared, or not a text or keyword; or none is named, and there
            is no text field.
    """
    for source in embedding.sources:
        kind = fields.get(source)
        if kind not in TEXTUAL_TYPES:
            what = "is not a field of the collection" if kind is None else f"is {kind}"
            raise BadRequestError(
                f"fields.{name}.{FROM}", f"{source} {what}; only texts and keywords are embedded"
            )
    if not embedding.sources and FieldType.TEXT not in fields.values():
        raise BadRequestError(
            f"fields.{name}.{EMBED}", "has nothing to embed: the collection has no text field"
        )


def is_reference(text: str) -> bool:
    """Whether a text is written `module:function`."""
    return len(text) <= _LONGEST and _REFERENCE.match(text) is not None
