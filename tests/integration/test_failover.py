"""A cluster under load while its Redis fails over: by SIGKILL, and by SIGSTOP of the primary."""

import asyncio
import signal
from functools import partial

import pytest

from bench.failover import (
    SwitchWatch,
    Traffic,
    bring_back,
    document_counts,
    fail_over,
    gateway_on,
    lost,
    workers_on,
)
from bench.harness.sentinels import Sentinels
from hedgerow.common.errors import UnavailableError
from tests.support import sentinels as fixtures
from tests.support.waiting import until

LATE_S = 2.0  # on a machine that is busy; bench.failover measures it
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

replicated, sentinels = fixtures.replicated, fixtures.sentinels


async def test_nothing_acknowledged_is_lost_and_all_is_whole_again(sentinels: Sentinels) -> None:
    """Each query is answered or refused in time, and answers are whole after the switch.

    Of the acknowledged documents each is found, and both replicas have the same.
    """
    with workers_on(sentinels):
        async with (
            gateway_on(sentinels, min_replicas=1) as gateway,
            SwitchWatch(sentinels).running() as watch,
        ):
            # So long that shards are late for no other reason on a machine that is busy.
            traffic = Traffic(gateway, deadline_ms=3000.0, pause_s=0.1)
            async with traffic.running(searchers=2, writers=2):
                await until(lambda: len(traffic.acknowledged) > 10, what="writes are acknowledged")
                for how in (signal.SIGSTOP, signal.SIGKILL):
                    _, old = await fail_over(sentinels, traffic, watch, how, observed_s=0.5)
                    await until(
                        partial(_are_whole, traffic, asyncio.get_running_loop().time()),
                        what="all answers are whole",
                    )
                    if how is signal.SIGSTOP:
                        await bring_back(sentinels, old, how)
            assert traffic.late_s() < LATE_S
            assert {one.kind for one in traffic.searches} <= {
                "whole",
                "partial",
                "InsufficientCoverageError",
            }
            acknowledged = [name for _, name in traffic.acknowledged]

            async def are_found() -> bool:  # those that were only logged may have yet to be applied
                try:
                    return not await lost(gateway, acknowledged)
                except UnavailableError:  # sentinels may let the primary move a second time
                    return False

            await until(are_found, what="all acknowledged documents are found")
            shards = (await gateway.status())["shards"]
            assert {shard["breaker"] for shard in shards} == {"closed"}

            async def are_alike() -> bool:
                first, second = await document_counts(gateway)
                return first == second

            await until(are_alike, what="both replicas have the same documents")


def _are_whole(traffic: Traffic, since: float) -> bool:
    return traffic.num_whole(since) >= 50
