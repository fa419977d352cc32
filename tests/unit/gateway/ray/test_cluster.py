"""A cluster on Ray, without Ray's processes: what it refuses, and the replicas that it keeps."""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.placement.document import Placement
from hedgerow.common.settings.placement import PlacementSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.cli.terminal import Terminal
from hedgerow.gateway.local.processes.supervisor import Started
from hedgerow.gateway.ray.node_processes import Report
from hedgerow.gateway.ray.nodes import NodePlan, Wanted
from hedgerow.gateway.ray.orders import Place
from tests.support.needs import missing


class Store:
    """A placement that has, or has not, been stored."""

    def __init__(self, replicas: int | None) -> None:
        """Store one with this number of replicas; None for no placement."""
        self._replicas = replicas

    async def read(self) -> Placement | None:
        """Return it."""
        return None if self._replicas is None else Placement(1, 2, self._replicas, 0, ())


@pytest.mark.parametrize(
    ("asked", "stored", "setting", "kept"),
    [
        (3, 2, 1, 3),  # the option decides
        (None, 2, 4, 2),  # a second command must not change what the first has asked for
        (None, None, 4, 4),
        (None, None, None, 1),  # by the nodes, as planned
    ],
)
async def test_workers_that_are_added_keep_the_number_of_replicas(
    asked: int | None, stored: int | None, setting: int | None, kept: int
) -> None:
    """The option precedes what the cluster has, and this the setting."""
    if find_spec("ray") is None:
        missing("Ray (make setup)")
    from hedgerow.gateway.ray.cluster import RayCluster, RayOptions  # noqa: PLC0415 - needs Ray

    placement = PlacementSettings() if setting is None else PlacementSettings(replicas=setting)
    options = RayOptions(
        "auto", Path("data"), None, Wanted(num_replicas=asked), host="", port=0, redis_url=None
    )
    nothing: Any = None
    cluster = RayCluster(nothing, options, Settings(placement=placement), "", nothing)
    plan = NodePlan(1, 1, 1.0, 0, asked or 1)
    stored_placement: Any = Store(stored)
    assert await cluster._settle_replicas(plan, stored_placement) == kept


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "no Ray cluster answers: .*refused"),
        ("ray://127.0.0.1:10001", "not as a client of it"),
    ],
)
def test_an_address_that_is_no_head_is_refused_at_once(address: str, words: str) -> None:
    """A port at which nothing listens, or the address of a Ray client, is a clear error."""
    if find_spec("ray") is None:
        missing("Ray (make setup)")
    from hedgerow.gateway.ray.engine import Engine  # noqa: PLC0415 - needs Ray

    with pytest.raises(ConfigurationError, match=words):
        Engine(address)


def test_an_actor_that_is_back_is_told_once() -> None:
    """The start of its process, which comes with its return, has no line of its own."""
    if find_spec("ray") is None:
        missing("Ray (make setup)")
    from hedgerow.gateway.cli.up_on_ray import RayStory  # noqa: PLC0415 - needs Ray
    from hedgerow.gateway.ray.cluster import Back  # noqa: PLC0415 - needs Ray

    said = io.StringIO()
    story = RayStory(Terminal(said))
    story.is_live = True
    place = Place("0123456789abcdef", "10.0.0.7", "here")
    report = Report(
        "life", place, "/data", "", {"gateway": 7}, "http://10.0.0.7:8080", "", (), 0, {}
    )
    for event in (Back("gateway-1", report), Started("gateway-1", 7, 0)):
        story.tell_of_ray(event)
    story.tell_of_ray(Started("gateway-1", 8, 1))
    back, restarted = said.getvalue().splitlines()
    assert "is back on the node 0123456789ab (10.0.0.7) at http://10.0.0.7:8080" in back
    assert "pid 8, restart 1" in restarted
