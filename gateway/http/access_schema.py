"""What GET /v1/status says of who may ask, as OpenAPI shows it; no answer passes through it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KeyRefusals(_Shape):
    """Requests of a key that were refused since there were too many."""

    rate: int = Field(description="By its `rate_per_s`.")
    share: int = Field(description="Searches, by its part of what may be in flight.")


class KeyStatus(_Shape):
    """One key, and what it has asked of this gateway since the start."""

    name: str
    rights: list[Literal["search", "write", "admin"]]
    collections: list[str] | None = Field(description="null for all.")
    rate_per_s: float | None = Field(description="Requests a second that it may send.")
    share: float | None = Field(description="Most of the admission limit that it may have.")
    is_expired: bool
    requests: int = Field(description="Requests that were let in.")
    refused: KeyRefusals
    in_flight: int = Field(description="Searches under way.")


class AccessStatus(_Shape):
    """Who may ask this gateway."""

    open: bool = Field(description="Whether anyone may, since there is neither token nor key.")
    keys: list[KeyStatus]
    keys_error: str = Field(
        description="Why the file of keys could not be read; the last good one is kept."
    )
