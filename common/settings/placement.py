"""Settings of placement: `[placement]`, and what a worker offers when it joins."""

from typing import Annotated

from pydantic import Field

from hedgerow.common.settings.group import Group, PositiveFloat, PositiveInt


class PlacementSettings(Group):
    """How shards are distributed over workers that join; the same in all of them."""

    replicas: PositiveInt = Field(
        1,
        description="Workers that each shard should have. If there are fewer workers, each shard "
        "has as many as there are.",
    )
    replace_after_s: PositiveFloat = Field(
        60.0,
        description="A worker without a heartbeat for this long loses its shards to others, in s.",
    )
    max_moves: PositiveInt = Field(
        2,
        description="Most replicas that are prepared at once, in the whole cluster, when shards "
        "move. Shards that have no owner yet do not count.",
    )
    max_restore_bytes_per_s: Annotated[int, Field(ge=0)] = Field(
        50_000_000,
        description="Most bytes that a worker that joins restores from snapshots in a second, for "
        "all shards together, so that restores give way to queries; 0 for no limit.",
    )
    split_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5,
        description="Part of the time for which new shards index what is copied to them while the "
        "shards are split, so that queries go first. Clones, which have the lowest priority, may "
        "take twice this part of a core. 1 to copy and clone as fast as possible.",
    )


class JoinSettings(Group):
    """What a worker offers when it joins; a part of the group `worker`."""

    join: bool = Field(
        False,
        description="Whether the worker serves what the placement assigns to it "
        "(`shard-worker --join`), and not shards that are named when it starts.",
    )
    capacity: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        1.0,
        description="How many shards a worker that joins gets in relation to others: one with 2 "
        "gets twice as many as one with 1.",
    )
    zone: str = Field(
        "",
        description="Where the worker is, such as a rack or a zone of a data centre: the replicas "
        "of a shard are placed in different zones if there are several.",
    )
    host: str = Field(
        "",
        description="Name of the machine that the worker runs on, as status and metrics show it: "
        "the replicas of a shard are placed on different machines if there are several. If empty, "
        "the system's host name, which in a container is the container's.",
    )
