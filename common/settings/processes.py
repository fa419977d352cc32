"""How many processes a gateway has on a machine, and how they leave."""

from typing import Annotated

from pydantic import Field

from hedgerow.common.settings.group import Group

Processes = Annotated[int, Field(ge=1, le=256)]


class ProcessSettings(Group):
    """Processes of the gateway; a part of the group `gateway`."""

    processes: Processes = Field(
        1,
        description="Gateway processes that share the port (SO_REUSEPORT); more than one on Linux "
        "only. Each has limits, breakers and metrics of its own.",
    )
    process_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="With several processes, the first of the ports at which each can also be "
        "reached alone: the first process listens there too, the next at the next port. Prometheus "
        "scrapes them there. If unset, there are none.",
    )
    drain_delay_s: float = Field(
        0.0,
        ge=0.0,
        description="At shutdown, how long `/readyz` answers 503 while everything else goes on, "
        "before the gateway accepts no more connections, in s: time for load balancers to notice.",
    )
