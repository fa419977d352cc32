"""The part of GET /v1/status about access, for OpenAPI only; answers are not built from it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KeyRefusals(_Shape):
    """Requests of a key that were refused because there were too many."""

    rate: int = Field(description="Requests refused because of its `rate_per_s`.")
    share: int = Field(
        description="Searches and requests refused because of its share of those in progress."
    )


class KeyStatus(_Shape):
    """One key, and how it has been used at this gateway since the start."""

    name: str
    rights: list[Literal["search", "write", "admin"]]
    collections: list[str] | None = Field(description="null for all.")
    rate_per_s: float | None = Field(description="Most requests a second; null for no limit.")
    share: float | None = Field(
        description="Largest share of the admission limit; null for no limit."
    )
    is_expired: bool
    requests: int = Field(description="Requests that were admitted.")
    refused: KeyRefusals
    in_flight: int = Field(description="Searches and requests in progress, except loads.")


class AccessStatus(_Shape):
    """Who may use this gateway."""

    open: bool = Field(
        description="Whether anyone may, because there is neither a token nor a key."
    )
    keys: list[KeyStatus]
    keys_error: str = Field(
        description="Why the file of keys could not be read; the last good keys stay in force."
    )
