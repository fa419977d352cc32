"""The texts of a stored document, as they were indexed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hedgerow.common.fields.field_types import FieldType, mismatch, texts_of
from hedgerow.shard_worker.storage.picking import pick_of

_decode_raw: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def texts_in(body: bytes, names: Sequence[str]) -> Mapping[str, list[str]]:
    """Field → its texts, of those text fields of `names` that the document has.

    A value that was not indexed, since it does not fit the field, has no texts.

    Args:
        body: the document, as JSON.
        names: of text fields.
    """
    pick = pick_of(names)
    try:
        values = _decode_raw(body if pick is None else pick(body))
    except msgspec.MsgspecError:
        return {}
    return {name: texts for name, raw in values.items() if (texts := _texts(raw))}


def _texts(raw: msgspec.Raw) -> list[str]:
    try:
        value: Any = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return []
    if value is None or mismatch(FieldType.TEXT, value):
        return []
    return texts_of(value)
