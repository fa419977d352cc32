"""Rank profiles: `[rank_profiles.NAME]`."""

from typing import Literal

from pydantic import Field, field_validator

from hedgerow.common.settings.group import Group, PositiveInt


class RankProfile(Group):
    """A named choice of first-phase retrieval and second-phase scoring."""

    first_phase: Literal["bm25", "noop"] = Field(
        "bm25", description="bm25 retrieves by the text index; noop takes the first k ids."
    )
    second_phase: str | None = Field(
        None, description="module:function that scores the candidates again."
    )
    candidates: PositiveInt = Field(
        100, description="Best documents of each shard that the second phase scores."
    )
    fields: list[str] | None = Field(
        None, description="Fields that the second phase receives; all if unset."
    )
    enrich: str | None = Field(
        None, description="module:function, may block; runs on the winners' documents."
    )
    embed: str | None = Field(
        None,
        description="module:function that turns the text of a query into a vector; that of the "
        "vector field if unset.",
    )
    share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Largest share of a worker's threads and scorers that the profile's functions "
        "may hold at once. If unset, worker.profile_share of the threads and all scorers but one.",
    )
    canary: bool = Field(
        False,
        description="Whether a query that no scorer has survived yet is tried on one shard first.",
    )
    lane: Literal["process", "loop"] = Field(
        "process", description="Where the search runs; loop is only for noop."
    )

    @field_validator("second_phase", "enrich", "embed")
    @classmethod
    def _names_a_function(cls, value: str | None) -> str | None:
        if value is not None:
            module, colon, function = value.partition(":")
            if not (module and colon and function):
                raise ValueError("is written module:function")
        return value


BUILT_IN_PROFILES = {
    "bm25": RankProfile(first_phase="bm25"),
    "noop": RankProfile(first_phase="noop", lane="loop"),
}
