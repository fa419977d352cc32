"""A search as its body asks it.

Bodies are described, and refused with a reason, by pydantic. Those that are in order, as most are,
are read by msgspec, in a third of the time: whatever it takes, pydantic takes too, for the same.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from pydantic import BaseModel, ConfigDict, Field

from hedgerow.common.settings.settings import GatewaySettings


class Search(BaseModel):
    """A search as it is asked, whatever a gateway's limits and defaults are."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    query: str
    k: int
    deadline_ms: float
    rank_profile: str | None = Field(
        None, description="Name of a configured rank profile; the collection's own if null."
    )
    filter: str
    fields: bool | list[str] = Field(
        True, description="Fields wanted in each hit: a list of names, true (all), false (none)."
    )
    minimum_coverage: float = Field(
        0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Least share of the documents that the answer must reflect, 0 to 1.",
    )
    wait_for: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the documents that is enough: once it is covered, the rest is waited "
        "for only a part of the time left.",
    )
    explain: bool = Field(
        False, description="Whether every shard is detailed, or only those not ok."
    )
    syntax: Literal["lenient", "strict"] = Field(
        "lenient", description="Whether an error in the query is repaired, or refused."
    )
    priority: Literal["interactive", "batch"] = Field(
        "interactive", description="batch is refused first when there is too much to do."
    )


def search_body(settings: GatewaySettings) -> type[Search]:
    """Make the body's model with the limits and defaults that the settings give."""

    class SearchBody(Search):
        """A search."""

        query: str = Field(
            max_length=settings.max_query_chars,
            description="The query: words, phrases, fields, ranges; see docs/ranking.md.",
        )
        k: int = Field(
            min(settings.default_k, settings.max_k),
            ge=1,
            le=settings.max_k,
            description="Most hits wanted.",
        )
        deadline_ms: float = Field(
            min(settings.default_deadline_ms, settings.max_deadline_ms),
            gt=0,
            le=settings.max_deadline_ms,
            allow_inf_nan=False,
            description="The answer leaves within so long, in ms.",
        )
        filter: str = Field(
            "",
            max_length=settings.max_query_chars,
            description="Query that hits must match too, without a say in their score.",
        )

    return SearchBody


_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def search_reader(settings: GatewaySettings, model: type[Search]) -> Callable[[bytes], Any]:
    """Make what reads a body: into an object with the attributes of `search_body`'s `model`.

    It raises pydantic's ValidationError.
    """
    text = Annotated[str, Meta(max_length=settings.max_query_chars)]
    types: dict[str, Any] = {
        "query": text,
        "k": Annotated[int, Meta(ge=1, le=settings.max_k)],
        "deadline_ms": Annotated[float, Meta(gt=0, le=settings.max_deadline_ms)],
        "rank_profile": str | None,
        "filter": text,
        "fields": bool | list[str],
        "minimum_coverage": Annotated[float, Meta(ge=0, le=1)],
        "wait_for": Annotated[float, Meta(gt=0, le=1)],
        "explain": bool,
        "syntax": Literal["lenient", "strict"],
        "priority": Literal["interactive", "batch"],
    }
    members = [
        (name, types[name]) if field.is_required() else (name, types[name], field.default)
        for name, field in model.model_fields.items()
    ]
    struct = msgspec.defstruct(
        "SearchBody", members, forbid_unknown_fields=True, frozen=True, gc=False
    )
    decode = msgspec.json.Decoder(struct).decode

    def read(raw: bytes) -> Any:
        try:
            return decode(raw)
        except _UNREADABLE:
            return model.model_validate_json(raw)

    return read
