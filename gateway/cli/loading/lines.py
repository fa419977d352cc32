"""One document of a source, as a JSON object on a line of bounded length."""

from typing import Any, Final, NamedTuple

from pydantic_core import to_json

# The default of the setting `limits.max_document_bytes`.
DEFAULT_MAX_BYTES: Final = 1_048_576
_QUOTED_BYTES: Final = 200


class Line(NamedTuple):
    """One document of a source, or why it cannot be used.

    Attributes:
        number: the line, row or file, from 1.
        document: a JSON object on one line; if it is not one, the text of the line.
        reason: why it cannot be loaded, or "".
        place: how to refer to it if the source has no lines: a path, an id, a row.
    """

    number: int
    document: bytes
    reason: str = ""
    place: str = ""

    @property
    def name(self) -> str:
        """Name the document for people."""
        return self.place or f"line {self.number}"


def with_id(line: Line, document: Any, id_field: str) -> Line:
    """Return the line with its document's id where the gateway looks for it.

    Args:
        line: the line that the document is from.
        document: the parsed line.
        id_field: the member that holds the id.
    """
    if not isinstance(document, dict):
        return line._replace(reason="should be a JSON object")
    if id_field not in document:
        return line._replace(reason=f"{id_field}: is missing")
    found = document.pop(id_field)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return line._replace(reason=f"{id_field}: should be a string or an integer")
    try:
        return line._replace(document=to_json({**document, "id": str(found)}))
    except ValueError as error:
        return line._replace(reason=f"cannot be JSON: {error}")


def bounded(line: Line, max_bytes: int) -> Line:
    """Return the line, or its beginning with a reason if the document is too large to send."""
    if len(line.document) <= max_bytes:
        return line
    return line._replace(document=line.document[:_QUOTED_BYTES], reason=too_long(max_bytes))


def too_long(max_bytes: int) -> str:
    """Say that a document of more than `max_bytes` is refused."""
    return f"is longer than {max_bytes} bytes, the most that --max-document-bytes allows"
