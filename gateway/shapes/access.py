"""Access to a gateway, in the status."""

from typing import Annotated, Literal

import msgspec

from hedgerow.gateway.shapes.doc import doc


class KeyRefusals(msgspec.Struct, frozen=True):
    """Requests of a key that were refused because it sent too many."""

    rate: Annotated[int, doc("Requests refused because of its `rate_per_s`.")]
    share: Annotated[
        int,
        doc("Searches and requests refused because its share of those in progress was used up."),
    ]


class KeyStatus(msgspec.Struct, frozen=True):
    """One key, and how it has been used at this gateway since the start."""

    name: str
    rights: list[Literal["search", "write", "admin", "metrics"]]
    collections: Annotated[list[str] | None, doc("null for all.")]
    rate_per_s: Annotated[float | None, doc("Most requests a second; null for no limit.")]
    share: Annotated[float | None, doc("Largest share of the admission limit; null for no limit.")]
    is_expired: bool
    requests: Annotated[int, doc("Requests that were admitted.")]
    refused: KeyRefusals
    in_flight: Annotated[int, doc("Searches and requests in progress, except loads.")]


class AccessStatus(msgspec.Struct, frozen=True):
    """Access to this gateway."""

    open: Annotated[
        bool, doc("Whether anyone may use it, because there is neither a token nor a key.")
    ]
    keys: list[KeyStatus]
    keys_error: Annotated[
        str, doc("Why the key file could not be read; the last good keys remain valid.")
    ]
